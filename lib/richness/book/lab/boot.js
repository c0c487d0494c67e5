// What a built page loads: <script type="module" src=".../boot.js">, with lab.js, page.js and lab.css beside it.
import { boot } from "./lab.js";

document.querySelectorAll("[data-richness-lab]").forEach((root) => boot(root));
