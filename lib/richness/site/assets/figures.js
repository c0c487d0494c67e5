// Figures wake when they are seen, focused or touched: the static picture gives way to a live Vega view in its place.
(() => {
  "use strict";
  if (location.protocol === "file:") return; // browsers fetch nothing from files: page.js says so
  const PATIENCE = 60_000; // ms for a figure's data, which are some hundred kilobytes at the most
  const script = document.currentScript;
  const here = new URL(".", script.src);
  const figures = [...document.querySelectorAll("figure.richness-figure")];
  let library = null;

  const loadScript = (address) =>
    new Promise((resolve, reject) => {
      const tag = document.createElement("script");
      tag.src = address;
      tag.onload = resolve;
      tag.onerror = () => reject(new Error(`could not load ${address}`));
      document.head.append(tag);
    });

  // Vega once a page; its interpreter evaluates expressions without eval.
  const loadVega = () => {
    library ??= loadScript(new URL("vega/vega.min.js", here).href)
      .then(() => import(new URL("vega/vega-interpreter.js", here).href))
      .then((module) => module.expressionInterpreter);
    return library;
  };

  const readSpecification = async (figure) => {
    const tag = figure.querySelector("script.richness-spec");
    if (!tag.dataset.src) return JSON.parse(tag.textContent);
    const answer = await fetch(new URL(tag.dataset.src, document.baseURI), { signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`the figure's data, ${tag.dataset.src}, answered ${answer.status}`);
    return answer.json();
  };

  // A small table that follows the pointer; text only, never markup.
  const tooltip = (() => {
    let box = null;
    return (handler, event, item, value) => {
      if (value == null || value === "") {
        if (box) box.hidden = true;
        return;
      }
      if (!box) {
        box = document.createElement("div");
        box.className = "richness-tooltip";
        document.body.append(box);
      }
      box.replaceChildren();
      const rows = typeof value === "object" ? Object.entries(value) : [["", value]];
      for (const [name, text] of rows) {
        const row = document.createElement("div");
        if (name) {
          const key = document.createElement("b");
          key.textContent = `${name} `;
          row.append(key);
        }
        row.append(String(text));
        box.append(row);
      }
      box.hidden = false;
      const x = Math.min(event.clientX + 12, document.documentElement.clientWidth - box.offsetWidth - 4);
      box.style.left = `${Math.max(4, x)}px`;
      const below = event.clientY + 14;
      const fits = below + box.offsetHeight < window.innerHeight;
      box.style.top = `${fits ? below : Math.max(4, event.clientY - box.offsetHeight - 10)}px`;
    };
  })();

  const superscript = (number) => [...String(number)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? { "-": "⁻" }[c] ?? c).join("");

  // What stands beside a slider: a logarithm shows as the number it stands for.
  const spoken = (control, value) => {
    if (!control.dataset.log) return String(value);
    const exponent = Number(value);
    if (Number.isInteger(exponent)) return `10${superscript(exponent)}`;
    const text = Number((10 ** exponent).toPrecision(3)).toString();
    return text.replace(/e\+?(-?\d+)/, (_, power) => ` × 10${superscript(power)}`);
  };

  const showValue = (control, value = control.value) => {
    const output = control.parentElement.querySelector("output");
    const text = spoken(control, value);
    if (output) output.textContent = text;
    if (control.type === "range") control.setAttribute("aria-valuetext", text);
  };

  const readControl = (control) => {
    if (control.type === "checkbox") return control.checked;
    if (control.type === "range") return Number(control.value);
    return JSON.parse(control.value);
  };

  const connect = (figure, view) => {
    for (const control of figure.querySelectorAll("[data-signal]")) {
      const send = () => {
        if (control.type === "radio" && !control.checked) return;
        showValue(control);
        view.signal(control.dataset.signal, readControl(control)).runAsync();
      };
      control.addEventListener(control.type === "range" ? "input" : "change", send);
      control.disabled = false;
      const receive = (value) => {
        if (value == null) return;
        if (control.type === "checkbox") control.checked = Boolean(value);
        else if (control.type === "radio") control.checked = JSON.parse(control.value) === value;
        else if (control.type === "range") control.value = value;
        else for (const option of control.options) option.selected = JSON.parse(option.value) === value;
        showValue(control, control.type === "range" ? value : control.value); // a slider's own value is held to its steps
      };
      receive(view.signal(control.dataset.signal));
      view.addSignalListener(control.dataset.signal, (name, value) => receive(value));
    }
  };

  const say = (figure, text) => {
    const message = figure.querySelector(".richness-message");
    message.textContent = text;
    message.hidden = !text;
  };

  const wake = async (figure) => {
    if (figure.dataset.state !== "static") return;
    figure.dataset.state = "loading";
    const picture = figure.querySelector(".richness-picture");
    const still = picture.firstElementChild;
    const stage = document.createElement("div");
    stage.className = "richness-stage";
    try {
      const [interpreter, specification] = await Promise.all([loadVega(), readSpecification(figure)]);
      const vega = window.vega;
      stage.hidden = true;
      picture.append(stage);
      const view = new vega.View(vega.parse(specification, {}, { ast: true }), {
        expr: interpreter, renderer: "svg", container: stage, hover: true, tooltip, logLevel: vega.Error,
      });
      await view.runAsync();
      connect(figure, view);
      const drawing = stage.querySelector("svg");
      drawing.setAttribute("role", "img");
      drawing.setAttribute("aria-label", picture.querySelector("svg[aria-label]")?.getAttribute("aria-label") || "");
      stage.hidden = false;
      still.remove();
      figure.richnessView = view;
      figure.dataset.state = "live";
      figure.dispatchEvent(new CustomEvent("richness-live", { bubbles: true }));
    } catch (error) {
      stage.remove();
      figure.dataset.state = "static";
      figure.dataset.error = String(error.message || error);
      say(figure, "This figure could not be made live here, so its picture stays. The numbers are in the table below.");
    }
  };

  const observer = "IntersectionObserver" in window
    ? new IntersectionObserver((entries) => {
        for (const entry of entries) {
          if (!entry.isIntersecting) continue;
          observer.unobserve(entry.target);
          wake(entry.target);
        }
      }, { rootMargin: "80px" })
    : null;

  for (const figure of figures) {
    figure.querySelectorAll("[data-signal]").forEach(showValue);
    for (const event of ["focusin", "pointerenter", "touchstart"])
      figure.addEventListener(event, () => wake(figure), { passive: true });
  }

  // The text comes first. What is seen wakes at the reader's first sign of life, or once the page has long been drawn.
  if (observer) {
    const signs = ["pointermove", "pointerdown", "keydown", "wheel", "scroll", "touchstart"];
    const begin = () => {
      for (const sign of signs) window.removeEventListener(sign, begin);
      figures.forEach((figure) => observer.observe(figure));
    };
    for (const sign of signs) window.addEventListener(sign, begin, { passive: true });
    const later = () => setTimeout(begin, 2500);
    if (document.readyState === "complete") later();
    else window.addEventListener("load", later, { once: true });
  }
})();
