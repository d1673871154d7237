/** Writes the program into the file `outfile`. */
export declare function buildSupervisor(options: { outfile: string }): Promise<void>
/** Writes the keeper of items that share containers into the file `outfile`. */
export declare function buildKeeper(options: { outfile: string }): Promise<void>
/** Writes the agent that starts such items in their container into the file `outfile`. */
export declare function buildAgent(options: { outfile: string }): Promise<void>
