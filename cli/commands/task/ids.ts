/** Ids of tasks, of items (`BATCH.INDEX`) and of batches. */
export const ids = { id: { type: 'positional', multiple: true, description: 'Ids of tasks, items (BATCH.INDEX) or batches' } } as const
