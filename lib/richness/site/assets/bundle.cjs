// Joins a module and all that it imports into one, minified, and writes it to stdout.
// Started by bundling.py, with the path of the esbuild package and the module's as its arguments.
"use strict";
const [, , esbuild, entry] = process.argv;
const { outputFiles } = require(esbuild).buildSync({
  entryPoints: [entry],
  bundle: true,
  minify: true,
  write: false,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "inline",
  logLevel: "error",
  banner: { js: "/*! The laboratory of richness, MIT. Bundled from the modules beside it; edit those. */" },
});
process.stdout.write(outputFiles[0].contents);
