// Orders and filters the images, and hides lesions below a score. Without it every image and lesion is there.

const gallery = document.querySelector(".gallery");
const find = (selector) => gallery.querySelector(selector);
const list = find(".cards");
const cards = [...list.querySelectorAll(".card")];

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

if (cards.length > 0) {
  linkBoxes(find(".all-prediction"), cards.map((card) => card.querySelector(".show-prediction")));
  cards.forEach(makeEnlargeable);
  startToolbar(gallery, ".order, .category, .place, .found, .score", arrange);
}
