/** Writes the program into the file `outfile`. */
export declare function buildSupervisor(options: { outfile: string }): Promise<void>
