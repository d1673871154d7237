import { createFleet } from './fleet.ts'
import { createLine } from './line.ts'
import { runPass } from './pass.ts'
import type { Room } from './room.ts'
import type { Plan, PlanInput, Planner } from './types.ts'

/** Placement as a pure function: data in, decisions and reasons out. Knows nothing of Runners, databases or clocks. */
export function planPlacements(input: PlanInput): Plan {
  return createPlanner().plan(input)
}

/**
 * A planner that remembers. What waits and did not fit is only looked at again on nodes that have changed, so that a pass
 * after one task has ended costs little, however many wait.
 */
export function createPlanner(): Planner {
  let fleet = createFleet([])
  let line = createLine([])
  let lastNow = -Infinity
  let pass = 0
  let unseen: readonly Room[] = []

  return {
    plan(input) {
      pass++
      const changed = input.now >= lastNow ? fleet.update(input.nodes) : null
      const gone = changed && line.update(input.waiting)
      lastNow = input.now
      if (changed === null || gone === null) {
        fleet = createFleet(input.nodes)
        line = createLine(input.waiting)
        unseen = []
      }
      // What was kept for those that are gone is open again.
      const reopened = gone?.flatMap(({ kept }) => kept?.room ?? []) ?? []
      const result = runPass({ fleet, line, input, pass, changed: [...(changed ?? []), ...reopened, ...unseen] })
      unseen = result.unseen
      return result.plan
    },
  }
}
