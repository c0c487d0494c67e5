// What a built page loads: <script type="module" src=".../boot.js">. The rest comes when a reader is near a laboratory.

const engine = new URL("./engine/", import.meta.url).href;

for (const root of document.querySelectorAll("[data-richness-lab]")) {
  const open = () => import("./lab.bundle.js").then(({ boot }) => boot(root, engine)).catch((error) => {
    const note = Object.assign(document.createElement("p"), { className: "rl-status", role: "status" });
    note.textContent = `The laboratory could not be opened: ${error.message}. Its picture and table remain.`;
    root.prepend(note);
  });
  for (const event of ["focusin", "pointerenter", "touchstart"]) root.addEventListener(event, open, { once: true, passive: true });
  new IntersectionObserver((seen, watch) => {
    if (seen.some((entry) => entry.isIntersecting)) { watch.disconnect(); open(); }
  }, { rootMargin: "200px" }).observe(root);
}
