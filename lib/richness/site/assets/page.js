// What every page needs beyond the theme's own scripts.
(() => {
  "use strict";

  // The theme's buttons name their action in `onclick`, which the site's Content-Security-Policy forbids.
  const actions = { print: () => window.print(), fullscreen: () => window.toggleFullScreen() };
  for (const button of document.querySelectorAll("[data-click]"))
    button.addEventListener("click", () => actions[button.dataset.click]());

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
