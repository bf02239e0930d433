"use strict";
// What the galleries of all pages share.

const names = new Intl.Collator("en", { numeric: true });

function byName(first, second) {
  return names.compare(first.dataset.name, second.dataset.name);
}

// One check box for those of all cards.
function linkBoxes(all, single) {
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
  for (const box of single) {
    box.addEventListener("change", follow);
  }
  follow(); // a reloaded page keeps its check boxes
}

function makeEnlargeable(card) {
  const button = card.querySelector(".enlarge");
  button.hidden = false;
  button.addEventListener("click", () => {
    const enlarged = card.classList.toggle("enlarged");
    button.setAttribute("aria-pressed", String(enlarged));
    card.scrollIntoView({ block: "nearest" });
  });
}

// Shows the controls; arrange is called now and whenever one of the choices changes.
function startToolbar(gallery, choices, arrange) {
  const toolbar = gallery.querySelector(".toolbar");
  const size = toolbar.querySelector(".size");
  const resize = () => {
    gallery.dataset.size = size.value;
  };
  size.addEventListener("change", resize);
  for (const choice of toolbar.querySelectorAll(choices)) {
    choice.addEventListener(choice.type === "range" ? "input" : "change", arrange); // a slider while it moves
  }
  toolbar.addEventListener("submit", (event) => event.preventDefault());
  toolbar.hidden = false;
  resize();
  arrange();
}
