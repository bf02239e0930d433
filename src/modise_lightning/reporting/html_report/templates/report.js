// Toggles, orders and filters the galleries. Without it every image is there, the worst first, and the check
// boxes of each image still work.

// Images without an IoU (nothing there, nothing predicted) come last in either direction.
function byIou(direction) {
  return (first, second) => {
    const [one, other] = [first, second].map((card) => (card.dataset.iou === "" ? NaN : Number(card.dataset.iou)));
    if (Number.isNaN(one) || Number.isNaN(other)) {
      return Number.isNaN(one) - Number.isNaN(other) || byName(first, second);
    }
    return direction * (one - other) || byName(first, second);
  };
}

const orders = { worst: byIou(1), best: byIou(-1), name: byName };

const errors = {
  "": () => true,
  any: (missed, falsePositives) => missed + falsePositives > 0,
  missed: (missed) => missed > 0,
  "false-positives": (missed, falsePositives) => falsePositives > 0,
  none: (missed, falsePositives) => missed + falsePositives === 0,
};

function startGallery(gallery) {
  const find = (selector) => gallery.querySelector(selector);
  if (find(".toolbar") === null) {
    return;
  }
  const list = find(".cards");
  const cards = [...list.children];

  function arrange() {
    const compare = orders[find(".order").value];
    list.append(...[...cards].sort(compare));
    const category = find(".category").value;
    const stratum = find(".stratum") === null ? "" : find(".stratum").value;
    const wanted = errors[find(".errors").value];
    for (const card of cards) {
      const { categories, strata, missed, falsePositives } = card.dataset;
      const ofCategory = category === "" || categories.split(" ").includes(category);
      const ofStratum = stratum === "" || strata.split(" ").includes(stratum);
      card.hidden = !(ofCategory && ofStratum && wanted(Number(missed), Number(falsePositives)));
    }
    const shown = cards.filter((card) => !card.hidden).length;
    find(".count").textContent = `${shown} of ${cards.length} images`;
  }

  for (const layer of ["truth", "prediction"]) {
    linkBoxes(find(`.all-${layer}`), cards.map((card) => card.querySelector(`.show-${layer}`)));
  }
  cards.forEach(makeEnlargeable);
  startToolbar(gallery, ".order, .category, .errors, .stratum", arrange);
}

for (const gallery of document.querySelectorAll(".gallery")) {
  startGallery(gallery);
}
