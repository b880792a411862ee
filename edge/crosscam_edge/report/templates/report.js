"use strict";
(() => {
  const PAGE = 24;
  const box = document.getElementById("cards");
  const cards = Array.from(box.children);
  const field = (name) => document.getElementById("f-" + name);
  const more = document.getElementById("more");
  const count = document.getElementById("count");
  let shown = PAGE;

  const matches = (card) => {
    const data = card.dataset;
    const text = field("text").value.trim().toLowerCase();
    const camera = field("camera").value;
    return (!text || data.id === text.replace(/^#/, "") || data.names.includes(text))
      && (!camera || data.cameras.split(" ").includes(camera))
      && Number(data.seconds) >= Number(field("seconds").value || 0)
      && (!field("crossing").checked || data.cameras.includes(" "));
  };

  const update = () => {
    const key = field("sort").value;
    const sign = key === "seconds" ? -1 : 1;
    const found = cards.filter(matches).sort((a, b) =>
      sign * (Number(a.dataset[key]) - Number(b.dataset[key])) || a.dataset.id - b.dataset.id);
    cards.forEach((card) => { card.hidden = true; });
    found.forEach((card, i) => { card.hidden = i >= shown; box.append(card); });
    const seen = Math.min(shown, found.length);
    count.textContent = `${found.length} of ${cards.length} people`
      + (seen < found.length ? `, the first ${seen} shown.` : ".");
    more.hidden = seen >= found.length;
    more.textContent = `Show ${Math.min(PAGE, found.length - seen)} more`;
  };

  const reveal = () => {
    const card = document.getElementById(location.hash.slice(1));
    if (card && card.hidden && card.classList.contains("card")) {
      card.hidden = false;
      card.scrollIntoView();
    }
  };

  document.getElementById("filters").addEventListener("input", () => { shown = PAGE; update(); });
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { shown += PAGE; update(); });
  addEventListener("hashchange", reveal);
  update();
  reveal();
})();
