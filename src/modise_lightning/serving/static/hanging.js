// Hangs images as radiologists do: right beside left, CC above MLO, chest walls together.

const ROWS = ["CC", "MLO"];
const DARK = 12; // of 255: film and compression leave background up to here

/** Gives cells row by row, right breast first; null where there is no image, and empty rows left out. */
export function hang(images) {
  const left = [...images];
  const take = (side, view) => {
    const at = left.findIndex((image) => image.laterality === side && image.view === view);
    return at < 0 ? null : left.splice(at, 1)[0];
  };
  const rows = [];
  for (const view of ROWS) {
    let row = [take("right", view), take("left", view)];
    while (row[0] || row[1]) {
      rows.push(row);
      row = [take("right", view), take("left", view)];
    }
  }
  const sided = (side) => left.filter((image) => image.laterality === side);
  const others = [sided("right"), sided("left")];
  const unknown = left.filter((image) => !["right", "left"].includes(image.laterality));
  while (others[0].length || others[1].length) {
    rows.push([others[0].shift() ?? null, others[1].shift() ?? null]);
  }
  while (unknown.length) {
    rows.push([unknown.shift(), unknown.shift() ?? null]);
  }
  return rows;
}

/** Gives the box of what is not background: exports are often padded to squares, and chest walls shall meet. */
export function contentBox(pixels, width, height) {
  const columns = new Uint32Array(width);
  const rows = new Uint32Array(height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (pixels[4 * (y * width + x)] > DARK) {
        columns[x] += 1;
        rows[y] += 1;
      }
    }
  }
  const range = (counts, across) => {
    const least = Math.max(1, 0.01 * across); // specks and labels are fewer
    const first = counts.findIndex((count) => count >= least);
    const last = counts.findLastIndex((count) => count >= least);
    return first < 0 ? [0, counts.length] : [first, last + 1];
  };
  const [left, right] = range(columns, height);
  const [top, bottom] = range(rows, width);
  return { left, right, top, bottom };
}

/** Tells whether an image is to be mirrored, so that its breast is at the side of the chest wall. */
export function isMirrored(laterality, pixels, width, height) {
  if (laterality !== "right" && laterality !== "left") {
    return false;
  }
  // The chest wall is where there is more tissue: the third of the image at that side is brighter.
  const third = Math.floor(width / 3);
  let first = 0;
  let last = 0;
  const step = Math.max(1, Math.floor(height / 200));
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < third; x += 4) {
      first += pixels[4 * (y * width + x)];
      last += pixels[4 * (y * width + width - 1 - x)];
    }
  }
  // Chest walls meet in the middle: that of the right breast is on the right of its image.
  const chestWall = last > first ? "right" : "left";
  const clear = Math.abs(last - first) > 0.1 * (first + last);
  return clear && chestWall !== laterality;
}
