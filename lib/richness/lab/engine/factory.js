// onnxruntime's module, instantiated from WebAssembly that was compiled before: four workers share one compilation.

import create from "./ort-wasm-simd-threaded.mjs";

let compiled = null;

/** The module that the next call of the factory instantiates. */
export function share(module) {
  compiled = module;
}

/** What onnxruntime imports as its own factory. */
export default function factory(options) {
  return new Promise((resolve, reject) => {
    const instantiateWasm = (imports, done) => {
      WebAssembly.instantiate(compiled, imports).then((instance) => done(instance, compiled), reject);
      return {};
    };
    create({ ...options, instantiateWasm }).then(resolve, reject);
  });
}
