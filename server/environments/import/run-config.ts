import { z } from 'zod'

/**
 * The run configuration of an image from anybody, as far as it is kept. An Engine that loads an image believes all of it, and says what makes no
 * sense only when a container is made; so everything is looked at here.
 */
export const runConfig = z.object({
  User: text().nullish(),
  // As Docker takes it: a name alone sets nothing.
  Env: z.array(text().regex(/^[^=]/, 'has no name before "="')).nullish(),
  Entrypoint: words().nullish(),
  Cmd: words().nullish(),
  Shell: words().nullish(),
  OnBuild: words().nullish(),
  WorkingDir: text().nullish(),
  StopSignal: text().nullish(),
  Labels: z.record(z.string(), text()).nullish(),
  Volumes: z.record(z.string(), z.object({}).nullable()).nullish(),
  ExposedPorts: z.record(z.string().regex(/^\d{1,5}(?:-\d{1,5})?(?:\/(?:tcp|udp|sctp))?$/i, 'is not a port'), z.object({}).nullable()).nullish(),
  Healthcheck: z.object({
    Test: words().nullish(),
    Interval: z.int().nullish(),
    Timeout: z.int().nullish(),
    StartPeriod: z.int().nullish(),
    StartInterval: z.int().nullish(),
    Retries: z.int().nullish(),
  }).nullish(),
})

// --- internal ---

function text() {
  return z.string().refine((value) => !value.includes('\0'), 'contains a NUL character')
}

function words() {
  return z.array(text())
}
