/** Processes of a task. Many threads, and still a fork bomb does not take the node with it. */
export const PIDS_LIMIT = 32_768
