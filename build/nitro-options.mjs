// What the Nitro builds of Host and Runner share.
export const nitroOptions = {
  compatibilityDate: '2026-11-01',
  preset: 'node-server',
  imports: false,
  // Entries own their server: core/http/edge.ts.
  serveStatic: false,
  sourceMap: false,
  minify: false,
  experimental: { websocket: true },
  esbuild: { options: { target: 'node20' } },
  typescript: { strict: true, generateTsConfig: false },
}
