import Database from 'libsql'

/** How the stored tasks are spread: filters that match few, many and nearly all of them. */
export const STORED = { tasks: 1_000_000, nodes: 1000, environments: 50, submitters: 200 }

/**
 * Fills the database of a stopped Host with tasks that have ended: of each thousand the first 300 are the items of a batch, which is the next one;
 * the others are tasks of their own.
 */
export function fillWithTasks(file: string): void {
  const database = new Database(file)
  try {
    database.exec(`
      BEGIN;
      CREATE TEMP TABLE made AS
        WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < ${STORED.tasks})
        SELECT n, n % 1000 BETWEEN 1 AND 300 AS is_item, n % 1000 = 301 AS is_batch, n - n % 1000 + 301 AS batch, CASE WHEN n % 1000 BETWEEN 1 AND 301 THEN n / 1000 * 10 ELSE n / 100 END AS submission FROM counter;
      INSERT INTO tasks (number, id, batch, item_index, state, wish, reason, exit_code, instance, node, environment, version, submitter, priority, rank, retries_left, submitted, started, finished, sequence, stdout_bytes, stderr_bytes, size, pending, counts, events)
        SELECT
          n,
          CASE WHEN is_item THEN ${idOf('batch')} || '.' || (n % 1000) ELSE ${idOf('n')} END,
          CASE WHEN is_item THEN batch END,
          CASE WHEN is_item THEN n % 1000 END,
          CASE WHEN is_batch THEN 'succeeded' WHEN n % 100 = 7 THEN 'failed' WHEN n % 50000 = 9 THEN 'killed' ELSE 'succeeded' END,
          'run',
          CASE WHEN n % 100 = 7 THEN 'exited' END,
          CASE WHEN n % 100 = 7 THEN 1 ELSE 0 END,
          1,
          CASE WHEN NOT is_batch THEN 'node' || ((n * 7919 + n / 1000 * 37) % ${STORED.nodes}) END,
          'environment' || (n / 1000 * 31 % ${STORED.environments}),
          1700000000,
          'user' || (submission * 17 % ${STORED.submitters}),
          0, n, 0,
          ${timeOf('n')}, ${timeOf('n + 1')}, ${timeOf('n + 2')},
          4, 0, 0,
          CASE WHEN is_batch THEN 300 END,
          CASE WHEN is_batch THEN '' END,
          CASE WHEN is_batch THEN '{"succeeded":297,"failed":3}' END,
          '[[0,"S"],[5,"a"],[900,"f"]]'
        FROM made;
      INSERT INTO task_specs (number, spec, items)
        SELECT n, '{"command":["python","train.py","--seed","' || n || '"],"env":{"SEED":"' || n || '"}}', CASE WHEN is_batch THEN '{"kind":"array","indexes":"1-300"}' END FROM made WHERE NOT is_item;
      DROP TABLE made;
      COMMIT;
    `)
  } finally {
    database.close()
  }
}

// --- internal ---

/** A task's id, which sorts as the number does. */
function idOf(number: string): string {
  return `printf('01h%023d', ${number})`
}

/** One a minute. */
function timeOf(number: string): string {
  return `strftime('%Y-%m-%dT%H:%M:%fZ', 1600000000 + 60 * (${number}), 'unixepoch')`
}
