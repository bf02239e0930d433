"use strict";
// Orders and filters the images, and hides lesions below a score. Without it every image and lesion is there.

const names = new Intl.Collator("en", { numeric: true });
const gallery = document.querySelector(".gallery");
const find = (selector) => gallery.querySelector(selector);
const list = find(".cards");
const cards = [...list.querySelectorAll(".card")];

function byName(first, second) {
  return names.compare(first.dataset.name, second.dataset.name);
}

function highest(card) {
  return Math.max(0, ...[...card.querySelectorAll("g.lesion:not([hidden])")].map((each) => Number(each.dataset.score)));
}

const orders = { score: (first, second) => highest(second) - highest(first) || byName(first, second), name: byName };

function arrange() {
  const least = Number(find(".score").value);
  find(".score-shown").textContent = least.toFixed(2);
  const category = find(".category").value;
  const place = find(".place") === null ? "" : find(".place").value;
  const found = find(".found").value;
  for (const card of cards) {
    for (const lesion of card.querySelectorAll(".lesion")) {
      const own = category === "" || lesion.dataset.category === category;
      lesion.toggleAttribute("hidden", !own || Number(lesion.dataset.score) < least);
    }
    const some = card.querySelector("g.lesion:not([hidden])") !== null;
    const wanted = found === "" ? category === "" || some : some === (found === "some");
    card.hidden = !wanted || (place !== "" && card.dataset.place !== place);
  }
  list.append(...[...cards].sort(orders[find(".order").value]));
  const shown = cards.filter((card) => !card.hidden).length;
  find(".count").textContent = `${shown} of ${cards.length} images`;
}

function start() {
  const all = find(".all-prediction");
  const single = cards.map((card) => card.querySelector(".show-prediction"));
  const follow = () => {
    const checked = single.filter((box) => box.checked).length;
    all.checked = checked > 0;
    all.indeterminate = checked > 0 && checked < single.length;
  };
  all.addEventListener("change", () => {
    for (const box of single) {
      box.checked = all.checked;
    }
  });
  for (const [index, box] of single.entries()) {
    box.addEventListener("change", follow);
    const button = cards[index].querySelector(".enlarge");
    button.hidden = false;
    button.addEventListener("click", () => {
      const enlarged = cards[index].classList.toggle("enlarged");
      button.setAttribute("aria-pressed", String(enlarged));
      cards[index].scrollIntoView({ block: "nearest" });
    });
  }
  follow(); // a reloaded page keeps its check boxes
  const size = find(".size");
  const resize = () => {
    gallery.dataset.size = size.value;
  };
  size.addEventListener("change", resize);
  for (const choice of gallery.querySelectorAll(".order, .category, .place, .found")) {
    choice.addEventListener("change", arrange);
  }
  find(".score").addEventListener("input", arrange);
  find(".toolbar").addEventListener("submit", (event) => event.preventDefault());
  find(".toolbar").hidden = false;
  resize();
  arrange();
}

if (cards.length > 0) {
  start();
}
