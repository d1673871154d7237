/**
 * Keeps a container alive that others work in. A shell is needed in any environment, and unlike `sleep infinity` this runs with every
 * `sleep`. It runs under the Engine's init, which passes SIGTERM on, so a stop takes no time.
 */
export const IDLE_COMMAND = ['/bin/sh', '-c', 'while :; do sleep 86400; done']
