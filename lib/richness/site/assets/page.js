// What every page needs beyond the theme's own scripts.
(() => {
  "use strict";

  // The theme's buttons name their action in `onclick`, which the site's Content-Security-Policy forbids.
  const actions = { print: () => window.print(), fullscreen: () => window.toggleFullScreen() };
  for (const button of document.querySelectorAll("[data-click]"))
    button.addEventListener("click", () => actions[button.dataset.click]());

  // A report names what its reader sees: the address holds a laboratory's whole state.
  const report = document.querySelector(".richness-report");
  report?.addEventListener("click", () => {
    const link = new URL(report.href);
    link.searchParams.set("body", link.searchParams.get("body").replace(/^Page: .*/, () => `Page: ${location.href}`));
    report.href = link.href;
  });

  // Keyboards know two letters for the µ of µP; the pages have the one, and a search for the other finds them too.
  const asked = new URLSearchParams(location.search), words = asked.get("q");
  if (words?.includes("\u03bc")) {
    asked.set("q", words.replaceAll("\u03bc", "\u00b5"));
    history.replaceState(history.state, "", `?${asked}`);
  }

  // A stop is a prediction: once it is made, a button sets the page's laboratory to show what happens, and the mark follows.
  const laboratory = document.querySelector("[data-richness-lab]");
  const said = Object.assign(document.createElement("p"), { className: "richness-message richness-said" });
  const show = (preset) => {
    const press = () => laboratory.querySelector(`[data-preset="${preset}"]`)?.click();
    if (laboratory.dataset.ready) { press(); return; }
    new MutationObserver((_, watch) => { watch.disconnect(); press(); }).observe(laboratory, { attributeFilter: ["data-ready"] });
    laboratory.dispatchEvent(new Event("pointerenter"));
  };
  for (const stop of laboratory ? document.querySelectorAll(".richness-stop") : []) {
    const [button, mark, answer] = ["button", ".richness-mark", "details"].map((part) => stop.querySelector(part));
    [button.hidden, answer.hidden] = [false, true];
    stop.addEventListener("change", () => { button.disabled = false; });
    button.addEventListener("click", () => {
      const chosen = stop.querySelector("input:checked");
      mark.textContent = chosen.value === stop.dataset.right ? "\u2713 As you said." : "\u2717 Not this time.";
      [answer.hidden, answer.open] = [false, true];
      said.textContent = `${mark.textContent} ${answer.querySelector("p").textContent}`;
      laboratory.before(said); // beside what it speaks of
      said.scrollIntoView({ block: "start" });
      show(stop.dataset.preset);
    });
  }

  // A browser loads no module and no data from a file: what is alive elsewhere is a picture there.
  const alive = document.querySelector("[data-richness-lab], figure.richness-figure");
  if (location.protocol === "file:" && alive) {
    const note = document.createElement("p");
    note.className = "richness-message";
    note.textContent = "This page was opened as a file, so its figures are pictures. Run “python3 -m http.server” in the website’s "
      + "folder (or “make serve” in the repository) and open the address that it prints: then they move.";
    alive.before(note);
  }

  // What scrolls can be reached by key; what does not is no stop on the way.
  const wide = ".richness-picture, .richness-table, .bd-article div.math, .bd-article table, .bd-article pre";
  const check = (element) => {
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = element;
    if (scrollWidth > clientWidth || scrollHeight > clientHeight) element.tabIndex = 0;
    else if (element !== document.activeElement) element.removeAttribute("tabindex");
  };
  if (!("ResizeObserver" in window)) return;
  const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => check(target)));
  for (const element of document.querySelectorAll(wide)) observer.observe(element);
  document.addEventListener("richness-live", ({ target }) => check(target.querySelector(".richness-picture")));
})();
