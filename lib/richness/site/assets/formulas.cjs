// One formula a line in (JSON: {tex, display}), one answer a line out (JSON: {html} or {error}).
// Started once a build by formulas.py, with the path of the katex package as its only argument.
"use strict";
const katex = require(process.argv[2]);
const lines = require("node:readline").createInterface({ input: process.stdin });

// An operator such as \max is two nodes in KaTeX's MathML, its name and an invisible "applied to". As a sub- or superscript or
// a half of a fraction it has to be one, or the element around it has a child too many and is invalid.
const FIXED = new Set(["msub", "msup", "msubsup", "munder", "mover", "munderover", "mfrac", "mroot"]);
const flat = (node) => (!node.type && node.children?.length ? node.children.flatMap(flat) : [node]);
function group(node) {
  if (!node.children) return;
  if (FIXED.has(node.type)) node.children = node.children.map((child) => {
    const parts = flat(child);
    return parts.length === 1 ? child : new node.constructor("mrow", parts);
  });
  node.children.forEach(group);
}

lines.on("line", (line) => {
  const { tex, display } = JSON.parse(line);
  let answer;
  try {
    const options = { displayMode: display, output: "htmlAndMathml", throwOnError: true, strict: "ignore" };
    const tree = katex.__renderToDomTree(tex, options);
    group(tree);
    answer = { html: tree.toMarkup() };
  } catch (error) {
    answer = { error: String(error.message || error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
