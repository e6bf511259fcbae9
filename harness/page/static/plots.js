/* The plots: specifications and numbers stand in the page; here rows are put together, and redrawn on a choice. */
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const darkness = matchMedia("(prefers-color-scheme: dark)");
const VERDICT_WORDS = { 1: "better", 0: "cannot be told apart", "-1": "worse" };

/** The difference of models a and b (by number) on a quality, in points: {estimate, low, high, sign}; or null. */
function difference(quality, a, b) {
  if (a === b || !quality.pairs.length) return null;
  const [i, j] = a < b ? [a, b] : [b, a];
  const n = data.models.length;
  const at = 4 * (i * n - (i * (i + 1)) / 2 + (j - i - 1));
  const [estimate, down, up, sign] = quality.pairs.slice(at, at + 4);
  if (estimate === null) return null;
  const per = quality.per;
  if (a < b) return { estimate: estimate / per, low: (estimate - down) / per, high: (estimate + up) / per, sign, error: quality.error };
  return { estimate: -estimate / per, low: -(estimate + up) / per, high: -(estimate - down) / per, sign: -sign, error: quality.error };
}

function qualityRows(quality, cost, models) {
  return models
    .filter((i) => quality.scores[i][0] !== null && cost.values[i] !== null)
    .map((i) => {
      const [score, low, high] = quality.scores[i];
      const value = cost.values[i];
      return { model: data.models[i], family: data.families[i], score, low, high, merit: quality.error ? -score : score, cost: value, effort: cost.more ? -value : value };
    });
}

function forestRows(a, b) {
  const sorted = data.qualities.filter((quality) => !quality.error).sort((x, y) => y.average - x.average);
  return sorted.flatMap((quality) => {
    const found = difference(quality, a, b);
    return found ? [{ title: quality.title, ...found, verdict: VERDICT_WORDS[found.sign] }] : [];
  });
}

function curveRows(curves, task, models) {
  const own = curves.find(([name]) => name === task);
  return (own ? own[1] : []).filter(([i]) => models.includes(i)).flatMap(([i, seed, steps, values]) =>
    steps.map((step, k) => ({ model: data.models[i], group: data.groups[i], seed, step, value: values[k] })));
}

/** A specification with other rows, and with titles of its axes. */
function filled(spec, rows, x, y) {
  const copy = structuredClone(spec);
  copy.data = { values: rows };
  copy.width = "container";
  if (copy.height.step) copy.height = copy.height.step * new Set(rows.map((row) => row[copy.encoding.y.field])).size;
  copy.autosize = { type: "fit-x", contains: "padding" };
  const title = (encoding, channel, words) => { if (encoding && encoding[channel] && words) encoding[channel].title = words; };
  for (const part of [copy, ...(copy.layer || [])]) {
    title(part.encoding, "x", x);
    title(part.encoding, "y", y);
  }
  return copy;
}

const drawn = new Map();

/** Draw into an element when it comes into sight; again when something is chosen or the theme changes. */
function draw(id, make) {
  const element = document.getElementById(id);
  if (!element) return;
  const first = !drawn.has(id);
  drawn.set(id, { make, stale: true });
  if (first) sight.observe(element);
  else if (element.dataset.near) redraw(id);
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      entry.target.dataset.near = "yes";
      redraw(entry.target.id);
    }
  }
}, { rootMargin: "300px" });

/** Do something once, when an element comes into sight. */
function whenNear(element, action) {
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    action();
  }, { rootMargin: "300px" });
  near.observe(element);
}

async function redraw(id) {
  const own = drawn.get(id);
  if (!own.stale) return;
  own.stale = false;
  const spec = own.make();
  const element = document.getElementById(id);
  if (own.view) own.view.finalize();
  element.replaceChildren();
  if (!spec) return;
  const config = { ...data.themes[darkness.matches ? "dark" : "light"] };
  if (!darkness.matches) config.background = null;
  if (spec.usermeta && spec.usermeta.range && !darkness.matches) config.range = spec.usermeta.range;
  else if (spec.usermeta && spec.usermeta.dark) config.range = spec.usermeta.dark;
  const { view } = await vegaEmbed(element, spec, {
    actions: false, ast: true, renderer: "svg", defaultStyle: false, config,
    tooltip: { disableDefaultStyle: true, theme: "page" },
  });
  own.view = view;
  performance.mark("drawn");
}

darkness.addEventListener("change", () => {
  for (const [id, own] of drawn) {
    own.stale = true;
    if (document.getElementById(id).dataset.near) redraw(id);
  }
});
