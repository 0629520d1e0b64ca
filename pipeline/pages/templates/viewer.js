"use strict";
// Shows the picture of a tile larger: the file itself where the browser can read it.
(() => {
  const viewer = document.getElementById("viewer");
  const image = document.getElementById("viewer-image");
  let tiles = [], at = 0;

  const shown = (element) => element.getClientRects().length > 0;

  const show = (to) => {
    at = (to + tiles.length) % tiles.length;
    const figure = tiles[at].closest("figure");
    const small = figure.querySelector("img"), { link } = tiles[at].dataset;
    image.src = small.src;
    image.alt = small.alt;
    if (link && link.startsWith("file:") && location.protocol === "file:") {
      const whole = new Image();
      whole.onload = () => { if (tiles[at].closest("figure") === figure) image.src = link; };
      whole.src = link;
    }
    const name = document.createElement(link ? "a" : "span");
    if (link) Object.assign(name, { href: link, target: "_blank", rel: "noopener noreferrer" });
    name.textContent = figure.title;
    document.getElementById("viewer-name").replaceChildren(name);
    document.getElementById("viewer-note").textContent =
      [...figure.querySelectorAll(".label, .note")].map((part) => part.textContent).join(" · ");
  };

  document.addEventListener("click", ({ target }) => {
    const opener = target.closest("figure .open");
    if (opener) {
      tiles = [...document.querySelectorAll("figure .open")].filter(shown);
      show(tiles.indexOf(opener));
      viewer.showModal();
    } else if (target === viewer || target.value === "0" && viewer.contains(target)) {
      viewer.close();
    } else if (target.tagName === "BUTTON" && viewer.contains(target)) {
      show(at + Number(target.value));
    }
  });
  viewer.addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft" || key === "ArrowRight") show(at + (key === "ArrowRight" ? 1 : -1));
  });
  viewer.addEventListener("close", () => tiles[at]?.focus());
})();
