// Learning curves, cost against score, parallel coordinates and what each key is worth.

const FAINT = 300; // curves that are drawn behind those in colour
const COLOURED = 8;
const AXES = 9; // of the parallel coordinates

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = matchMedia("(prefers-color-scheme: dark)");

// A share of one of the page's colours in another.
function mixed(one, other, share) {
  const parts = (name) => css(name).replace(/^#(.)(.)(.)$/, "#$1$1$2$2$3$3").match(/[0-9a-f]{2}/g).map((part) => parseInt(part, 16));
  const [a, b] = [parts(one), parts(other)];
  return `rgb(${a.map((value, i) => Math.round(share * value + (1 - share) * b[i])).join(" ")})`;
}

// The same run has the same colour everywhere, as long as it is chosen or near the top.
function colourOf(run) {
  return `hsl(${(215 + 137.5 * (palette.get(run) ?? 0)) % 360} 65% ${dark.matches ? 66 : 40}%)`;
}

function short(value) {
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(4))}${unit}`;
  return String(Number(value.toPrecision(4)));
}

// A scale over values: from 0 to 1 where they lie, and round values on it.
function scaleOf(values, log = false) {
  const to = log ? (value) => Math.log10(Math.max(value, Number.MIN_VALUE)) : (value) => value;
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    low = Math.min(low, to(value));
    high = Math.max(high, to(value));
  }
  if (!(low <= high)) [low, high] = [0, 1];
  const air = (high - low) * 0.05 || Math.abs(high) * 0.1 || 0.5;
  [low, high] = [low - air, high + air];
  const scale = (value) => (to(value) - low) / (high - low);
  const unit = 10 ** Math.floor(Math.log10((high - low) / 5));
  const step = [1, 2, 5, 10].map((factor) => factor * unit).find((size) => size >= (high - low) / 5);
  scale.ticks = [];
  if (log) {
    for (let decade = Math.floor(low); decade <= high; decade++)
      for (const factor of high - low > 3 ? [1] : [1, 2, 5]) {
        const at = decade + Math.log10(factor);
        if (at >= low && at <= high) scale.ticks.push(factor * 10 ** decade);
      }
  } else for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) scale.ticks.push(Number(tick.toPrecision(12)));
  return scale;
}

// A canvas as sharp as the screen; its context, width and height in CSS pixels.
function sheet(canvas, height) {
  const width = canvas.parentElement.clientWidth;
  const dots = devicePixelRatio || 1;
  Object.assign(canvas, { width: width * dots, height: height * dots });
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(dots, dots);
  context.font = "12px system-ui, sans-serif";
  return [context, width, height];
}

function path(context, points, colour, width, alpha) {
  Object.assign(context, { strokeStyle: colour, lineWidth: width, globalAlpha: alpha, lineJoin: "round" });
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (points.length === 1) context.lineTo(points[0][0] + 2, points[0][1]);
  context.stroke();
  context.globalAlpha = 1;
}

function drawCurves() {
  const metric = at("metric").value;
  const curves = board.curves[metric] ?? {};
  at("curves").hidden = !metric;
  if (!metric) return;
  const inFront = subjects(COLOURED, (run) => run in curves);
  const behind = rows.filter((run) => run in curves && !inFront.includes(run)).slice(0, FAINT);
  const xs = [], ys = [];
  for (const run of [...inFront, ...behind]) curves[run].forEach((value, i) => (i % 2 ? ys : xs).push(value));
  const [context, width, height] = sheet(at("curves-canvas"), 320);
  const [x, y] = [scaleOf(xs), scaleOf(ys)];
  const [left, right, top, floor] = [62, width - 12, 12, height - 40];
  const place = (step, value) => [left + x(step) * (right - left), floor - y(value) * (floor - top)];
  Object.assign(context, { fillStyle: css("--ink"), textAlign: "right", textBaseline: "middle" });
  for (const tick of y.ticks) {
    const [, level] = place(0, tick);
    path(context, [[left, level], [right, level]], css("--line"), 1, 1);
    context.fillText(short(tick), left - 8, level);
  }
  Object.assign(context, { textAlign: "center", textBaseline: "top" });
  for (const tick of x.ticks.filter((tick) => tick >= 0)) context.fillText(short(tick), place(tick, 0)[0], floor + 6);
  context.fillText("step", (left + right) / 2, floor + 22);
  const points = (run) => Array.from({ length: curves[run].length / 2 }, (_, i) => place(curves[run][2 * i], curves[run][2 * i + 1]));
  for (const run of behind) path(context, points(run), css("--faint"), 1, Math.max(0.12, 0.5 - behind.length / 500));
  for (const run of inFront.toReversed()) path(context, points(run), colourOf(run), 2, 1);
  at("curves-canvas").setAttribute("aria-label", `${metric} by step of ${inFront.length + behind.length} runs`);
  legend(at("curves-legend"), inFront, (run) => `${metric} ${short(curves[run].at(-1))}`);
}

function legend(list, runs, said) {
  list.replaceChildren(...runs.map((run) =>
    made("li", {}, made("i", { style: `background:${colourOf(run)}` }), `${nameOf(run)}: ${said(run)}`)));
}

// The runs that no other matches in score at as little cost.
function frontOf(runs, cost, score) {
  let best = -Infinity;
  return runs.toSorted((a, b) => cost.values[a] - cost.values[b] || score.values[b] - score.values[a])
    .filter((run) => score.values[run] > best && ((best = score.values[run]), true));
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function drawScatter() {
  const [cost, score] = [columnOf(at("cost").value), columnOf(at("score").value)];
  const runs = score ? rows.filter((run) => cost.values[run] > 0 && score.values[run] !== null) : [];
  at("scatter").hidden = !runs.length;
  if (!runs.length) return;
  const [width, height, left, top] = [Math.min(760, at("scatter-box").clientWidth), 400, 56, 16];
  const [right, floor] = [width - 14, height - 48];
  const limits = new Set(runs.map((run) => board.limits[run]));
  const limit = cost.key === "parameters" && limits.size === 1 ? [...limits][0] : null;
  const costs = runs.map((run) => cost.values[run]);
  const [x, y] = [scaleOf(costs, Math.max(...costs) > 5 * Math.min(...costs)), scaleOf(runs.map((run) => seen(score, run)))];
  const place = (run) => [left + x(cost.values[run]) * (right - left), floor - y(seen(score, run)) * (floor - top)];
  const front = frontOf(runs, cost, score);
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${score.title} against ${cost.title}` });
  const text = (words, at) => picture.append(svg("text", at, words));
  for (const tick of y.ticks) {
    const level = floor - y(tick) * (floor - top);
    picture.append(svg("line", { class: "grid", x1: left, x2: right, y1: level, y2: level }));
    text(short(tick), { x: left - 8, y: level + 4, "text-anchor": "end" });
  }
  const wide = x.ticks.length > width / 60 ? x.ticks.filter((tick) => /^1/.test(tick.toExponential())) : x.ticks;
  for (const tick of wide) text(short(tick), { x: left + x(tick) * (right - left), y: floor + 18, "text-anchor": "middle" });
  picture.append(svg("path", { class: "axis", d: `M${left} ${top} V${floor} H${right}` }));
  text(cost.title, { x: (left + right) / 2, y: height - 8, "text-anchor": "middle" });
  text(`${score.title} in percent`, { transform: `translate(14 ${(top + floor) / 2}) rotate(-90)`, "text-anchor": "middle" });
  const at50 = limit ? x(limit) : -1;
  if (at50 > 0 && at50 < 1) {
    const line = left + at50 * (right - left);
    picture.append(svg("line", { class: "limit", x1: line, x2: line, y1: top, y2: floor }));
    text("budget", { x: line - 5, y: top + 12, "text-anchor": "end" });
  }
  const corners = front.map(place);
  picture.append(svg("path", { class: "front", d: corners.map(([px, py], i) => (i ? `H${px} V${py}` : `M${px} ${py}`)).join(" ") }));
  const best = new Set(front);
  for (const run of runs.toSorted((a, b) => best.has(a) - best.has(b))) {
    const [cx, cy] = place(run);
    const dot = svg("circle", { class: `point${best.has(run) ? " best" : ""}`, cx, cy, r: view.chosen.has(nameOf(run)) ? 6 : 4 },
      svg("title", {}, `${nameOf(run)}: ${shown(score, run)}, ${shown(cost, run)} ${cost.title}`));
    if (view.chosen.has(nameOf(run))) dot.style.fill = colourOf(run);
    dot.addEventListener("click", () => choose(run));
    picture.append(dot);
  }
  at("scatter-box").replaceChildren(picture);
  const over = limit && at50 >= 1 ? ` All are within the budget of ${short(limit)}.` : "";
  at("scatter-said").textContent = `${front.length} of ${runs.length.toLocaleString("en")} runs are on the Pareto front. A click on a run chooses it.${over}`;
}

// Where a column's values lie on its axis, from 0 to 1, and the words beside it.
function axisOf(column, runs) {
  if (column.kind === "text") {
    const used = [...new Set(runs.map((run) => column.values[run]))].sort((a, b) => a - b);
    const place = new Map(used.map((value, i) => [value, used.length > 1 ? i / (used.length - 1) : 0.5]));
    const words = used.length <= 12 ? used.map((value) => [place.get(value), column.levels[value] || "(none)"]) : [];
    return { column, at: (run) => place.get(column.values[run]), words };
  }
  const numbers = runs.map((run) => seen(column, run)).filter((value) => value !== null);
  const low = Math.min(...numbers), high = Math.max(...numbers);
  const log = low > 0 && high / low >= 10;
  const to = log ? Math.log10 : (value) => value;
  const spread = to(high) - to(low) || 1;
  const middle = log ? 10 ** ((to(low) + to(high)) / 2) : (low + high) / 2;
  return {
    column,
    at: (run) => (seen(column, run) === null ? null : (to(seen(column, run)) - to(low)) / spread),
    words: low === high ? [[0, short(low)]] : [[0, short(low)], [0.5, short(Number(middle.toPrecision(2)))], [1, short(high)]],
  };
}

function drawParallel() {
  const score = columnOf(at("score").value);
  const runs = score ? rows.filter((run) => score.values[run] !== null) : [];
  const differs = (column) => column.setting && column.shown && new Set(runs.map((run) => column.values[run])).size > 1;
  const columns = board.columns.filter(differs).slice(0, AXES);
  at("parallel").hidden = !columns.length;
  if (!columns.length) return;
  const [context, width, height] = sheet(at("parallel-canvas"), 340);
  const axes = [...columns, score].map((column) => axisOf(column, runs));
  const side = width > 700 ? 90 : 46;
  const [left, right, top, floor] = [side, width - 46, 40, height - 16];
  const x = (i) => left + (i / (axes.length - 1)) * (right - left);
  const y = (share) => floor - share * (floor - top);
  const points = (run) => axes.map((axis, i) => [axis, i]).filter(([axis]) => axis.at(run) !== null).map(([axis, i]) => [x(i), y(axis.at(run))]);
  const last = axes.at(-1);
  for (const run of runs.toSorted((a, b) => score.values[a] - score.values[b])) {
    const share = last.at(run);
    const colour = mixed("--first", "--second", share);
    path(context, points(run), colour, 1, Math.max(0.06, Math.min(0.8, 60 / runs.length)));
  }
  const marked = runs.filter((run) => view.chosen.has(nameOf(run)));
  for (const run of marked) path(context, points(run), colourOf(run), 3, 1);
  axes.forEach((axis, i) => {
    path(context, [[x(i), top], [x(i), floor]], css("--faint"), 1, 1);
    const align = i === 0 ? "left" : i === axes.length - 1 ? "right" : "center";
    const start = align === "left" ? 0 : align === "right" ? width : x(i);
    Object.assign(context, { textAlign: align, textBaseline: "bottom", fillStyle: css("--ink") });
    const name = axis.column.title.split(".").at(-1);
    context.fillText(name, start, top - (i % 2 ? 22 : 8), (2 * (right - left)) / axes.length - 8);
    Object.assign(context, { textBaseline: "middle", textAlign: i === axes.length - 1 ? "left" : "right" });
    for (const [share, word] of axis.words) {
      const room = i === axes.length - 1 ? 40 : i === 0 ? side - 6 : (right - left) / axes.length - 8;
      context.lineWidth = 3;
      context.strokeStyle = css("--paper");
      context.strokeText(word, x(i) + (i === axes.length - 1 ? 5 : -5), y(share), room);
      context.fillText(word, x(i) + (i === axes.length - 1 ? 5 : -5), y(share), room);
    }
  });
  at("parallel-canvas").setAttribute("aria-label", `${runs.length} runs across ${axes.map((axis) => axis.column.title).join(", ")}`);
}

let asked = 0;
async function drawImportance() {
  const group = at("group").value;
  const ticket = ++asked;
  let found = board.importance[group];
  if (!found && settings.every) {
    const answer = await fetch(`importance.json?${new URLSearchParams({ group })}`).catch(() => null);
    found = answer?.ok ? await answer.json() : { why: "the server does not answer" };
    board.importance[group] = found;
  }
  if (ticket !== asked) return;
  const keys = found?.keys ?? [];
  const largest = Math.max(1e-9, ...keys.map(([, loss]) => loss));
  at("importance-said").textContent = keys.length
    ? `Of ${found.runs} runs ${group ? `of ${group}` : "of all kinds"}: how many points of hold-out J a forest's prediction is more off where a key's values are shuffled. It explains ${Math.round(100 * Math.max(0, found.explained))} % of what the runs differ by${found.explained < 0.3 ? ": too little to go by" : ""}.`
    : `How much each key matters: ${found?.why ?? "not in this page for this sweep alone"}.`;
  at("importance").replaceChildren(...keys.slice(0, 15).map(([key, loss, deviation]) =>
    made("tr", {}, made("td", { class: "text" }, key),
      made("td", {}, made("span", { class: "bar first" }, made("i", { style: `width:${(100 * Math.max(0, loss)) / largest}%` }))),
      made("td", {}, `${(100 * Math.max(0, loss)).toFixed(2)} ± ${(100 * deviation).toFixed(2)}`))));
}

function drawCharts() {
  drawCurves();
  drawScatter();
  drawParallel();
  drawImportance();
}
