// One formula a line in (JSON: {tex, display}), one answer a line out (JSON: {html} or {error}).
// Started once a build by formulas.py, with the path of the katex package as its only argument.
"use strict";
const katex = require(process.argv[2]);
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { tex, display } = JSON.parse(line);
  let answer;
  try {
    const options = { displayMode: display, output: "htmlAndMathml", throwOnError: true, strict: "ignore" };
    answer = { html: katex.renderToString(tex, options) };
  } catch (error) {
    answer = { error: String(error.message || error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
