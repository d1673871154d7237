/** Program → the command it stands for. */
export declare const programs: Record<string, string[]>
/** Writes `<outDir>/cli` and `<outDir>/bin`. */
export declare function buildBins(options: { outDir: string }): Promise<void>
