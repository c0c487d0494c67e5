// What every page needs beyond the theme's own scripts.
(() => {
  "use strict";

  // The theme's buttons name their action in `onclick`, which the site's Content-Security-Policy forbids.
  const actions = { print: () => window.print(), fullscreen: () => window.toggleFullScreen() };
  for (const button of document.querySelectorAll("[data-click]"))
    button.addEventListener("click", () => actions[button.dataset.click]());

  // What scrolls sideways can be reached by key; what does not is no stop on the way.
  const wide = ".richness-picture, .richness-table, .bd-article div.math, .bd-article table, .bd-article pre";
  if (!("ResizeObserver" in window)) return;
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const scrolls = target.scrollWidth > target.clientWidth + 1 || target.scrollHeight > target.clientHeight + 1;
      if (scrolls) target.tabIndex = 0;
      else if (target !== document.activeElement) target.removeAttribute("tabindex");
    }
  });
  for (const element of document.querySelectorAll(wide)) observer.observe(element);
})();
