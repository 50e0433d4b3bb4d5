import { defineConfig } from "vite";

export default defineConfig({
  base: "/console/",
  build: {
    outDir: "../built",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the content security policy allows no inline script
    modulePreload: { polyfill: false },
  },
});
