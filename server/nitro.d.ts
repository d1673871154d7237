/** Virtual module of Nitro, for `entry.ts` files. */
declare module '#nitro-internal-pollyfills'
