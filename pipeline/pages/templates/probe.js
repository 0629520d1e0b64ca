"use strict";
// The images of a cell of the confusion matrix, and tables that sort.
(() => {
  const tiles = document.querySelector("#images .tiles");
  const figures = [...tiles.children];
  const chosen = document.getElementById("chosen"), rest = document.getElementById("rest");
  const first = document.getElementById("first"), all = document.getElementById("all");
  const matrix = document.getElementById("matrix");
  const isWrong = ({ dataset }) => dataset.true !== dataset.taken;
  const mistakes = figures.filter(isWrong);
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

  const show = (some, text, total) => {
    const shown = new Set(some);
    figures.forEach((figure) => { figure.hidden = !shown.has(figure); });
    chosen.textContent = text;
    rest.hidden = total <= shown.size;
    rest.textContent = `${shown.size.toLocaleString("en")} of them are here; ${tiles.dataset.command} lists mistakes.`;
  };

  const counts = (selector) => sum([...matrix.querySelectorAll(selector)].map(({ dataset }) => Number(dataset.n)));
  const name = (number) => matrix?.querySelector(`tbody th [data-true="${number}"]`).title;

  const describe = (button) => {
    const { true: row, taken: column, n } = button.dataset;
    if (n) {
      const cells = button.closest("tr");
      const [from, to] = button.closest(".matrix") ? [name(row), name(column)] : [cells.children[0].textContent, cells.children[1].textContent];
      const part = button.closest(".matrix") ? `${Number(n).toLocaleString("en")} of ${counts(`td [data-true="${row}"]`).toLocaleString("en")}` : Number(n).toLocaleString("en");
      return [row === column ? `${from}, recognised: ${part}, the least sure first` : `${from}, taken for ${to}: ${part}`, Number(n)];
    }
    const total = row ? counts(`td.wrong [data-true="${row}"]`) : counts(`td.wrong [data-taken="${column}"]`);
    return [row ? `${name(row)}, taken for others: ${total}` : `others, taken for ${name(column)}: ${total}`, total];
  };

  const choose = (button) => {
    const { true: row, taken: column, n } = button.dataset;
    const some = figures.filter(({ dataset }) => (!row || dataset.true === row) && (!column || dataset.taken === column));
    show(n ? some : some.filter(isWrong), ...describe(button));
    document.querySelectorAll("[aria-pressed]").forEach((one) => one.removeAttribute("aria-pressed"));
    button.setAttribute("aria-pressed", "true");
    const images = document.getElementById("images");
    images.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    images.focus({ preventScroll: true });
  };

  const showFirst = () => show(mistakes.slice(0, Number(first.dataset.first)), `The surest of ${mistakes.length.toLocaleString("en")} mistakes`, 0);
  const showAll = () => show(mistakes, `All ${mistakes.length.toLocaleString("en")} mistakes, the surest first`, 0);
  first.addEventListener("click", showFirst);
  all.addEventListener("click", showAll);
  if (mistakes.length > Number(first.dataset.first)) {
    first.hidden = all.hidden = false;
    showFirst();
  } else {
    show(mistakes, chosen.textContent, 0);
  }
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button[data-true], button[data-taken]");
    if (button) choose(button);
  });

  if (matrix) {
    const grid = [...matrix.querySelectorAll("tr")].map((row) => [...row.children].map((cell) => cell.querySelector("button")));
    const place = (button) => [button.closest("tr").rowIndex, button.parentElement.cellIndex];
    const enter = (button) => {
      matrix.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
      button.tabIndex = 0;
      if (!button.ariaLabel) [button.ariaLabel] = describe(button);
      if (!button.title) button.title = button.ariaLabel;
    };
    enter(matrix.querySelector("td button"));
    for (const event of ["focusin", "pointerover"]) {
      matrix.addEventListener(event, ({ target }) => { if (target.closest("button")) enter(target.closest("button")); });
    }
    const ways = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    matrix.addEventListener("keydown", (event) => {
      const way = ways[event.key], button = event.target.closest("button");
      if (!way || !button) return;
      event.preventDefault();
      let [row, column] = place(button);
      do { row += way[0]; column += way[1]; } while (grid[row] && column in grid[row] && !grid[row][column]);
      grid[row]?.[column]?.focus();
    });
  }

  document.querySelectorAll(".sortable .sort").forEach((button) => button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0], at = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    [...head.parentElement.children].forEach((one) => one.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.children[at].textContent;
    const order = (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
    body.append(...[...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a))));
  }));
})();
