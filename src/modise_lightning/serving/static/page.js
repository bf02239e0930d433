// The page: takes images, asks for predictions, and lets the reader look. Names are text, never markup.

import { hang } from "./hanging.js";
import { Viewport } from "./viewport.js";

const byId = (id) => document.getElementById(id);
const HEADERS = { "X-Modise-Page": "1" };
const view = {
  score: 0.5, window: 256, level: 128, inverted: false, outlines: true, uncertainty: false,
  hidden: new Set(), colors: new Map(), chosen: null,
};
let exam = null; // identifier of the open exam
let result = null; // what the server described
let viewports = [];

function element(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: HEADERS });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error ?? `The server answered ${answer.status}.`);
  }
  return answer.json();
}

function tell(text, messages = []) {
  byId("status").textContent = text;
  byId("messages").replaceChildren(...messages.map((message) => element("li", { textContent: message })));
}

async function loadPicture(address) {
  const answer = await fetch(address, { headers: HEADERS });
  if (!answer.ok) {
    throw new Error(`A picture could not be loaded (${answer.status}).`);
  }
  return createImageBitmap(await answer.blob());
}

/** Gives the files that were dropped, with those in folders: [path, file]. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) {
    return [...transfer.files].map((file) => [file.name, file]);
  }
  const found = [];
  const walk = async (entry, folder) => {
    if (entry.isFile) {
      found.push([folder + entry.name, await new Promise((good, bad) => entry.file(good, bad))]);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((good, bad) => reader.readEntries(good, bad));
      if (!some.length) {
        return;
      }
      for (const each of some) {
        await walk(each, `${folder}${entry.name}/`);
      }
    }
  };
  for (const entry of entries) {
    await walk(entry, "");
  }
  return found;
}

async function take(files) {
  if (!files.length) {
    return;
  }
  await close();
  const refused = [];
  try {
    exam = (await ask("/api/exams", { method: "POST" })).exam;
    for (const [index, [path, file]] of files.entries()) {
      tell(`Reading ${index + 1} of ${files.length} files …`);
      const address = `/api/exams/${exam}/files?path=${encodeURIComponent(path)}`;
      await ask(address, { method: "POST", body: file }).catch((error) => refused.push(error.message));
    }
    await predict(null, refused);
  } catch (error) {
    await close();
    tell("", [...refused, error.message]);
  }
}

async function predict(vocabulary, messages = []) {
  document.body.setAttribute("aria-busy", "true");
  tell("Looking for lesions …", messages);
  try {
    const body = JSON.stringify({ vocabulary });
    result = await ask(`/api/exams/${exam}/predict`, { method: "POST", body });
    await show([...messages, ...result.failures, ...result.notes]);
  } finally {
    document.body.removeAttribute("aria-busy");
  }
}

async function show(messages) {
  view.colors = new Map(result.classes.map((each) => [each.name, each.color]));
  view.hidden = new Set();
  const exams = [...new Set(result.images.map((image) => image.exam))];
  byId("exam").replaceChildren(...exams.map((name) => element("option", { value: name, textContent: name })));
  byId("exam-label").hidden = exams.length < 2;
  byId("classes").replaceChildren(...result.classes.map(classSwitch));
  byId("controls").hidden = false;
  byId("drop").hidden = true;
  byId("hanging").hidden = false;
  const isDicom = result.images.some((image) => image.is_dicom);
  for (const id of ["seg", "sr"]) {
    byId(id).hidden = !isDicom;
  }
  await hangExam(exams[0]);
  const number = result.images.length;
  tell(`${number} ${number === 1 ? "image" : "images"}${exams.length > 1 ? ` of ${exams.length} exams` : ""}.`, messages);
}

function classSwitch(each) {
  const box = element("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => {
    view.hidden[box.checked ? "delete" : "add"](each.name);
    refresh();
  });
  const swatch = element("span", { className: "swatch" });
  swatch.style.setProperty("background", each.color);
  return element("label", {}, box, " ", swatch, ` ${each.name}`);
}

async function hangExam(name) {
  const images = result.images.filter((image) => image.exam === name);
  const address = (image, what) => `/api/exams/${exam}/images/${image.number}/${what}.png?${result.prediction}`;
  viewports = await Promise.all(
    images.map(async (image) => {
      const pictures = ["picture", "uncertainty"].map((what) => loadPicture(address(image, what)));
      return new Viewport(image, ...(await Promise.all(pictures)), view);
    }),
  );
  const rows = hang(images);
  const of = new Map(viewports.map((viewport) => [viewport.image, viewport]));
  const isOne = images.length === 1;
  const cells = rows.flat().map((image, index) => {
    const side = image?.laterality ?? (index % 2 ? "left" : "right");
    if (!image) {
      return isOne ? "" : element("figure", { className: `empty ${side}`, textContent: "no image" });
    }
    const viewport = of.get(image);
    const mirrored = viewport.mirrored ? ", mirrored" : "";
    const caption = element("figcaption", { textContent: `${viewport.title()}${mirrored} · ${image.name}` });
    viewport.listen(act);
    return element("figure", { className: side }, viewport.canvas, caption);
  });
  viewports = rows.flat().filter(Boolean).map((image) => of.get(image));
  view.chosen = null;
  byId("hanging").replaceChildren(...cells.filter(Boolean));
  byId("hanging").classList.toggle("alone", isOne);
  for (const viewport of viewports) {
    viewport.canvas.parentElement.classList.toggle("chosen", isOne);
    sizes.observe(viewport.canvas);
    viewport.resize();
  }
  refresh();
}

const sizes = new ResizeObserver(() => viewports.forEach((viewport) => viewport.resize()));

function listed() {
  return viewports
    .flatMap((viewport) => viewport.visibleLesions().map((lesion) => ({ viewport, lesion })))
    .sort((one, other) => other.lesion.score - one.lesion.score);
}

function refresh() {
  byId("score").value = view.score;
  byId("score-shown").value = Number(view.score).toFixed(2);
  byId("level").value = view.level;
  byId("level-shown").value = Math.round(view.level);
  byId("window").value = view.window;
  byId("window-shown").value = Math.round(view.window);
  byId("show-outlines").checked = view.outlines;
  byId("show-uncertainty").checked = view.uncertainty;
  byId("show-inverted").checked = view.inverted;
  viewports.forEach((viewport) => viewport.draw());
  const found = listed();
  byId("count").textContent = `(${found.length})`;
  byId("lesions").replaceChildren(...found.map(lesionItem));
  for (const [id, name] of [["csv", "lesions.csv"], ["json", "lesions.json"], ["seg", "dicom_seg.zip"], ["sr", "dicom_sr.zip"]]) {
    byId(id).href = `/api/exams/${exam}/downloads/${name}?score=${view.score}`;
  }
}

function lesionItem({ viewport, lesion }) {
  const size = lesion.longest_diameter_mm === undefined
    ? `${lesion.longest_diameter.toFixed(0)} pixels long`
    : `${lesion.longest_diameter_mm.toFixed(1)} mm long, ${lesion.area_mm2.toFixed(0)} mm²`;
  const unsure = lesion.uncertainty === undefined ? "" : `, uncertainty ${lesion.uncertainty.toFixed(2)}`;
  const swatch = element("span", { className: "swatch" });
  swatch.style.setProperty("background", view.colors.get(lesion.class) ?? "#fff");
  const button = element(
    "button",
    { type: "button" },
    swatch,
    element("span", { textContent: lesion.class }),
    element("span", { textContent: lesion.score.toFixed(2) }),
    element("small", { textContent: `${viewport.title()}: ${size}${unsure}` }),
  );
  button.setAttribute("aria-current", String(lesion === view.chosen));
  button.addEventListener("click", () => jump({ viewport, lesion }, true));
  return element("li", {}, button);
}

function jump({ viewport, lesion }, keepsFocus = false) {
  view.chosen = lesion;
  if (byId("hanging").classList.contains("alone")) {
    viewports.forEach((each) => each.canvas.parentElement.classList.toggle("chosen", each === viewport));
    viewport.resize();
  }
  refresh();
  viewport.jumpTo(lesion);
  if (keepsFocus) {
    document.querySelector("#lesions [aria-current='true']")?.focus();
  }
}

function step(by) {
  const found = listed();
  if (found.length) {
    const at = found.findIndex(({ lesion }) => lesion === view.chosen);
    jump(found[at < 0 ? (by > 0 ? 0 : found.length - 1) : (at + by + found.length) % found.length]);
  }
}

function setAlone(viewport) {
  byId("hanging").classList.toggle("alone", viewport !== null);
  for (const each of viewports) {
    each.canvas.parentElement.classList.toggle("chosen", each === viewport);
  }
  viewports.forEach((each) => each.resize());
}

/** What a viewport asks of the page. */
function act(what, value) {
  if (what === "pointer") {
    byId("pointer").textContent = value || "\u00a0";
  } else if (what === "window") {
    view.window = Math.min(512, Math.max(1, view.window + value.across));
    view.level = Math.min(255, Math.max(0, view.level - value.down / 2));
    refresh();
  } else if (what === "alone") {
    setAlone(byId("hanging").classList.contains("alone") && viewports.length > 1 ? null : value);
  }
}

function setScore(score) {
  const { min, max } = byId("score");
  view.score = Math.min(Number(max), Math.max(Number(min), Number(score)));
  refresh();
}

function resetView() {
  Object.assign(view, { window: 256, level: 128, inverted: false });
  viewports.forEach((viewport) => viewport.fit());
  refresh();
}

/** Draws what is seen into one picture, with the warning on it. */
function savePicture() {
  const origin = byId("hanging").getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  const line = 24 * ratio;
  const whole = element("canvas", { width: origin.width * ratio, height: origin.height * ratio + line });
  const context = whole.getContext("2d");
  context.fillRect(0, 0, whole.width, whole.height);
  for (const { canvas } of viewports.filter((viewport) => viewport.canvas.checkVisibility())) {
    const box = canvas.getBoundingClientRect();
    context.drawImage(canvas, (box.left - origin.left) * ratio, (box.top - origin.top) * ratio);
  }
  context.fillStyle = "#fff";
  context.font = `${14 * ratio}px sans-serif`;
  const notice = `Research software, not a medical device. ${byId("notice").textContent}`;
  context.fillText(notice, 6 * ratio, whole.height - 7 * ratio, whole.width - 12 * ratio);
  whole.toBlob((blob) => {
    const address = URL.createObjectURL(blob);
    element("a", { href: address, download: "exam.png" }).click();
    URL.revokeObjectURL(address);
  });
}

async function close() {
  const closed = exam;
  exam = null;
  result = null;
  viewports = [];
  sizes.disconnect();
  byId("hanging").replaceChildren();
  byId("hanging").hidden = true;
  byId("controls").hidden = true;
  byId("drop").hidden = false;
  tell("");
  if (closed) {
    await ask(`/api/exams/${closed}/close`, { method: "POST" });
  }
}

function listen() {
  for (const id of ["files", "folder"]) {
    byId(id).addEventListener("change", (event) => {
      take([...event.target.files].map((file) => [file.webkitRelativePath || file.name, file]));
      event.target.value = "";
    });
  }
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("dragging"));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    take(await droppedFiles(event.dataTransfer));
  });
  byId("score").addEventListener("input", (event) => setScore(event.target.value));
  for (const name of ["level", "window"]) {
    byId(name).addEventListener("input", (event) => {
      view[name] = Number(event.target.value);
      refresh();
    });
  }
  for (const name of ["outlines", "uncertainty", "inverted"]) {
    byId(`show-${name}`).addEventListener("change", (event) => {
      view[name] = event.target.checked;
      refresh();
    });
  }
  byId("exam").addEventListener("change", (event) => hangExam(event.target.value));
  byId("reset").addEventListener("click", resetView);
  byId("png").addEventListener("click", savePicture);
  byId("close").addEventListener("click", close);
  byId("vocabulary-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const names = byId("vocabulary").value.split(",").map((name) => name.trim()).filter(Boolean);
    predict(names.length ? names : null).catch((error) => tell("", [error.message]));
  });
  document.addEventListener("keydown", onKey);
  // A closed page has no exam: fetch with keepalive outlives it.
  window.addEventListener("pagehide", () => {
    if (exam) {
      fetch(`/api/exams/${exam}/close`, { method: "POST", headers: HEADERS, keepalive: true });
    }
  });
}

function onKey(event) {
  if (!result || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=text], select")) {
    return;
  }
  const toggle = (name) => () => {
    view[name] = !view[name];
    refresh();
  };
  const keys = {
    o: toggle("outlines"),
    u: toggle("uncertainty"),
    i: toggle("inverted"),
    n: () => step(1),
    p: () => step(-1),
    "[": () => setScore(view.score - 0.05),
    "]": () => setScore(view.score + 0.05),
    Escape: () => viewports.length > 1 && setAlone(null),
  };
  keys[event.key]?.();
}

async function start() {
  const model = await ask("/api/model");
  byId("model").textContent = `${model.name}, trained on ${model.trained_on}`;
  byId("notice").textContent = model.notice ?? "";
  byId("vocabulary-form").hidden = !model.has_vocabulary;
  byId("vocabulary").placeholder = model.classes.join(", ");
  Object.assign(byId("score"), { min: model.minimum_score, max: 1 });
  view.score = model.score;
  listen();
  document.body.dataset.ready = "true";
}

start().catch((error) => tell("", [error.message]));
