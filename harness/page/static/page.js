/* Tables that sort and filter, controls, and the state of both in the fragment of the address. */
"use strict";

document.documentElement.classList.add("script");

const byId = (id) => document.getElementById(id);
const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

function remember(key, value) {
  if (value) state.set(key, value);
  else state.delete(key);
  const text = state.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function cellText(parent, text, className) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = text;
  parent.append(span);
}

const size = (value, error) => (error ? String(Number(Math.abs(value).toPrecision(4))) : Math.abs(value).toFixed(1));
const signed = (value, error) => (value < 0 ? "-" : "+") + size(value, error);
const SIGNS = { 1: "▲", 0: "≈", "-1": "▼" };
const CLASSES = { 1: "is-better", 0: "", "-1": "is-worse" };

function fillDifference(cell, found) {
  cell.replaceChildren();
  cell.className = found ? CLASSES[found.sign] : "";
  cell.dataset.order = found ? found.estimate : "";
  cell.title = found ? `95 % interval ${signed(found.low, found.error)} to ${signed(found.high, found.error)}: ${VERDICT_WORDS[found.sign]}` : "";
  if (!found) {
    cell.textContent = "—";
    return;
  }
  cell.append(signed(found.estimate, found.error));
  cellText(cell, ` ± ${size((found.high - found.low) / 2, found.error)}`, "pm");
  cellText(cell, ` ${SIGNS[found.sign]}`, "sign");
}

/* The leaderboard ------------------------------------------------------------------------------------------------ */

const bare = { paging: false, info: false, autoWidth: false, order: [], layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
  columnDefs: [{ targets: "_all", orderSequence: ["desc", "asc", ""], type: "num" }, { targets: 0, orderSequence: ["asc", "desc", ""], type: "string" }] };

const scoreTable = byId("scores");
const keys = [null, ...[...scoreTable.querySelectorAll("thead th[data-key]")].map((head) => head.dataset.key)];
const bodyRows = [...scoreTable.tBodies[0].rows];
const qualityOf = new Map(data.qualities.map((quality) => [quality.key, quality]));
const table = new DataTable(scoreTable, bare);
const costNames = byId("costs") ? [...byId("costs").tBodies[0].rows].map((row) => row.querySelector(".model").textContent) : [];
const costTable = byId("costs") ? new DataTable("#costs", bare) : null;

function chosen(id) {
  const boxes = [...byId(`choose-${id}`).querySelectorAll("input")];
  return boxes.filter((box) => box.checked).map((box) => box.value);
}

function shownModels() {
  const models = new Set(chosen("models"));
  const words = byId("find").value.trim().toLowerCase();
  return data.models.map((_, i) => i).filter((i) => models.has(data.models[i]) && data.models[i].toLowerCase().includes(words));
}

function showRelative() {
  const other = data.models.indexOf(byId("relative").value);
  bodyRows.forEach((row, i) => {
    [...row.cells].forEach((cell, k) => {
      if (k === 0) return;
      cell.own ||= { html: [...cell.childNodes], order: cell.dataset.order, title: cell.title, className: cell.className };
      if (other >= 0) {
        fillDifference(cell, i === other ? null : difference(qualityOf.get(keys[k]), i, other));
        if (i === other) cell.textContent = "";
        return;
      }
      cell.replaceChildren(...cell.own.html);
      Object.assign(cell, { title: cell.own.title, className: cell.own.className });
      cell.dataset.order = cell.own.order;
    });
  });
  table.rows().invalidate("dom");
  for (const foot of scoreTable.tFoot ? scoreTable.tFoot.rows : []) foot.hidden = other >= 0;
}

function showColumns() {
  const suites = new Set(chosen("suites"));
  const columns = new Set(chosen("columns"));
  keys.forEach((key, i) => {
    if (key === null) return;
    const box = byId("choose-columns").querySelector(`input[value="${CSS.escape(key)}"]`);
    const visible = columns.has(key) && suites.has(box.dataset.suite);
    if (table.column(i).visible() !== visible) table.column(i).visible(visible);
  });
}

function showModels() {
  const shown = new Set(shownModels());
  table.search.fixed("shown", (text, row, index) => shown.has(index));
  table.draw();
  if (costTable) {
    const names = new Set([...shown].map((i) => data.models[i]));
    costTable.search.fixed("shown", (text, row, index) => names.has(costNames[index]));
    costTable.draw();
  }
}

for (const id of ["suites", "columns", "models"]) {
  const boxes = [...byId(`choose-${id}`).querySelectorAll("input")];
  const hidden = new Set((state.get(`no-${id}`) || "").split("|").filter(Boolean));
  const tell = () => {
    const off = boxes.filter((box) => !box.checked);
    byId(`choose-${id}`).querySelector(".chosen").textContent = off.length ? `${boxes.length - off.length} of ${boxes.length}` : "";
    return off.map((box) => box.value).join("|");
  };
  boxes.forEach((box) => {
    box.checked = !hidden.has(box.value);
    box.addEventListener("change", () => {
      remember(`no-${id}`, tell());
      if (id === "models") { showModels(); drawAll(); } else showColumns();
    });
  });
  tell();
}
document.addEventListener("click", (event) => {
  for (const box of document.querySelectorAll("details.choose[open]")) if (!box.contains(event.target)) box.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const box of document.querySelectorAll("details.choose[open]")) { box.open = false; box.firstElementChild.focus(); }
});

byId("find").value = state.get("find") || "";
byId("find").addEventListener("input", () => { remember("find", byId("find").value); showModels(); drawAll(); });

/** A select whose choice is in the address. */
function choice(id, onChange) {
  const select = byId(id);
  if (!select) return;
  const wanted = state.get(id);
  if (wanted && [...select.options].some((option) => option.value === wanted)) select.value = wanted;
  const usual = [...select.options].find((option) => option.defaultSelected) || select.options[0];
  select.addEventListener("change", () => { remember(id, select.value === usual.value ? "" : select.value); onChange(); });
}

choice("relative", () => { showRelative(); table.draw(); });
table.on("order", () => {
  const [first] = table.order();
  remember("sort", first && first[1] ? `${first[0] === 0 ? "model" : keys[first[0]]} ${first[1]}` : "");
});

function restoreOrder() {
  const [, key, direction] = /^(.*) (asc|desc)$/.exec(state.get("sort") || "") || [];
  const column = key === "model" ? 0 : keys.indexOf(key);
  if (key && column >= 0) table.order([column, direction]).draw();
}

byId("reset").addEventListener("click", () => {
  history.replaceState(null, "", location.pathname + location.search);
  location.reload();
});

/* Pairs ---------------------------------------------------------------------------------------------------------- */

function showMatrix() {
  const matrix = byId("matrix");
  const quality = qualityOf.get(byId("matrix-key").value);
  const names = [...matrix.tHead.rows[0].cells].slice(1).map((head) => head.textContent);
  const heads = new Map([...scoreTable.tBodies[0].rows, ...bodyRows].map((row) => [row.querySelector(".model").textContent, row.querySelector(".model")]));
  byId("matrix-name").textContent = quality.title;
  matrix.tBodies[0].replaceChildren(...names.map((a) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.append(heads.get(a).cloneNode(true));
    row.append(head, ...names.map((b) => {
      const cell = document.createElement("td");
      if (a !== b) fillDifference(cell, difference(quality, data.models.indexOf(a), data.models.indexOf(b)));
      return cell;
    }));
    return row;
  }));
}

/* Plots ---------------------------------------------------------------------------------------------------------- */

function drawQuality() {
  draw("quality-plot", () => {
    const quality = qualityOf.get(byId("quality").value);
    const cost = data.costs.find((one) => one.key === byId("cost").value);
    const rows = qualityRows(quality, cost, shownModels());
    if (!rows.length) return null;
    const spec = filled(data.specs.quality, rows, cost.title, quality.title);
    if (!rows.some((row) => row.low !== null)) spec.layer.splice(1, 1);
    for (const part of [spec, ...spec.layer]) if (part.encoding && part.encoding.x) part.encoding.x.scale.type = cost.log ? "log" : "linear";
    if (cost.log) delete spec.encoding.x.scale.zero;
    return spec;
  });
}

function drawForest() {
  draw("forest-plot", () => {
    const [a, b] = [byId("first").value, byId("second").value];
    const rows = forestRows(data.models.indexOf(a), data.models.indexOf(b));
    if (!rows.length) return null;
    const spec = filled(data.specs.forest, rows, `${a} less ${b}, points`);
    for (const layer of spec.layer) for (const channel of ["color", "shape"]) if (layer.encoding[channel]) layer.encoding[channel].legend = null;
    return spec;
  });
}

function drawCurves() {
  const task = () => byId("curve-task").value;
  for (const [id, curves, title] of [["score-plot", data.scores, "Score"], ["loss-plot", data.losses, "Training loss"]]) {
    draw(id, () => {
      const rows = curveRows(curves, task(), shownModels());
      const spec = filled(data.specs.curves, rows, "", title);
      if (!rows.some((row) => row.seed !== null)) spec.layer.shift();
      return rows.length ? spec : null;
    });
  }
}

function drawAll() {
  if (byId("quality")) drawQuality();
  if (byId("first")) drawForest();
  if (byId("curve-task")) drawCurves();
}

choice("quality", drawQuality);
choice("cost", drawQuality);
choice("matrix-key", showMatrix);
choice("first", drawForest);
choice("second", drawForest);
choice("curve-task", drawCurves);

/* Folds ---------------------------------------------------------------------------------------------------------- */

for (const fold of document.querySelectorAll(".fold")) {
  const [one, two] = fold.querySelectorAll(".disagree select");
  const names = one ? [...one.options].slice(1).map((option) => option.value) : [];
  const show = () => {
    const [a, b] = [names.indexOf(one.value), names.indexOf(two.value)];
    for (const row of fold.querySelectorAll(".examples tbody tr")) {
      row.hidden = a >= 0 && b >= 0 && row.cells[2 + a].textContent === row.cells[2 + b].textContent;
    }
  };
  if (one) { one.addEventListener("change", show); two.addEventListener("change", show); }
  fold.addEventListener("toggle", () => remember("open", [...document.querySelectorAll(".fold[open]")].map((f) => f.id.slice(5)).join("|")));
}
for (const task of (state.get("open") || "").split("|")) if (task && byId(`task-${task}`)) byId(`task-${task}`).open = true;

for (const link of document.querySelectorAll('nav a, a.skip, a[href="#pairs"]')) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const section = document.querySelector(link.getAttribute("href"));
    section.scrollIntoView();
    section.setAttribute("tabindex", "-1");
    section.focus({ preventScroll: true });
    remember("at", section.id);
  });
}

if (byId("relative").value) showRelative();
showColumns();
showModels();
restoreOrder();
if (byId("matrix-key")) whenNear(byId("matrix"), showMatrix);
if (data.specs.ranks) draw("ranks-plot", () => filled(data.specs.ranks, data.specs.ranks.data.values));
drawAll();
if (state.get("at") && byId(state.get("at"))) byId(state.get("at")).scrollIntoView({ behavior: "instant" });
