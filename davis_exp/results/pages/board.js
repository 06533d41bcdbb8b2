"use strict";
// The board: one block of data, and what passes the filter drawn as a table, charts and a matrix.

const PAGE = 50; // rows of the table
const at = (id) => document.getElementById(id);
const settings = JSON.parse(at("settings").textContent);
const view = { sort: "", down: true, page: 0, chosen: new Set(), columns: new Map(), cell: null }; // columns: key → wanted
let board = null;
let rows = []; // the runs' numbers that pass the filter, in the table's order
let palette = new Map(); // run → place among those in colour

// An element; what is given as text stays text, whatever is in it.
function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  element.append(...children);
  return element;
}

const nameOf = (run) => board.runs[run];
const columnOf = (key) => board.byKey.get(key);
const valueOf = (column, run) => (column.kind === "text" ? column.levels[column.values[run]] : column.values[run]);
const seen = (column, run) => (column.kind === "percent" && column.values[run] !== null ? 100 * column.values[run] : valueOf(column, run));

function shown(column, run) {
  const value = valueOf(column, run);
  if (value === null) return "-";
  if (column.kind === "percent") return (100 * value).toFixed(2);
  if (column.kind === "count") return value.toLocaleString("en");
  if (column.key === "GFLOPs") return value.toFixed(2);
  if (column.key === "seconds") return Math.round(value).toLocaleString("en");
  return String(value);
}

const known = (column) => column.values.some((value) => (column.kind === "text" ? column.levels[value] !== "" : value !== null));
const percents = () => board.columns.filter((column) => column.kind === "percent" && known(column));

function load(data) {
  board = data;
  board.byKey = new Map(data.columns.map((column) => [column.key, column]));
  options(at("group"), ["", ...board.groups.levels], (group) => group || "all runs");
  options(at("metric"), Object.keys(board.curves));
  options(at("cost"), ["parameters", "GFLOPs", "seconds"]);
  options(at("score"), percents().map((column) => column.key), (key) => columnOf(key).title);
  columnChoice();
  update();
}

// The options of a select, which keeps what it shows where that is still there.
function options(select, values, said = String) {
  const before = select.value;
  select.replaceChildren(...values.map((value) => made("option", { value }, said(value))));
  if (values.includes(before)) select.value = before;
  select.disabled = values.length < 2;
}

// What the words of the filter ask of a run: key=value, key!=value, key<number, key>number, or a part of any text.
function conditions(text) {
  return (text.match(/(?:[^\s"]+|"[^"]*")+/g) ?? []).map((word) => {
    const [, key, sign, wanted] = word.replaceAll('"', "").match(/^(.+?)(<=|>=|!=|=|<|>)(.*)$/) ?? [];
    const column = columnOf(key);
    if (!column) return anywhere(word.replaceAll('"', "").toLowerCase());
    const number = wanted === "" ? NaN : Number(wanted);
    const equal = (value) =>
      column.kind === "text" ? value === wanted : value === null ? wanted === "" : Math.abs(value - number) <= 1e-6 * Math.abs(number);
    const tests = {
      "=": equal,
      "!=": (value) => !equal(value),
      "<": (value) => value !== null && value < number,
      ">": (value) => value !== null && value > number,
      "<=": (value) => value !== null && value <= number,
      ">=": (value) => value !== null && value >= number,
    };
    return (run) => tests[sign](seen(column, run));
  });
}

function anywhere(word) {
  const texts = board.columns.filter((column) => column.kind === "text");
  const fitting = texts.map((column) => column.levels.map((level) => level.toLowerCase().includes(word)));
  return (run) => nameOf(run).toLowerCase().includes(word) || texts.some((column, i) => fitting[i][column.values[run]]);
}

function chooseRows() {
  const group = board.groups.levels.indexOf(at("group").value);
  const asked = conditions(at("filter").value);
  rows = [...board.runs.keys()].filter((run) => (group < 0 || board.groups.codes[run] === group) && asked.every((test) => test(run)));
  const column = sorting();
  const empty = column.kind === "text" ? column.levels.indexOf("") : null;
  rows.sort((a, b) => {
    const [one, other] = [column.values[a], column.values[b]];
    if (one === empty || other === empty) return (one === empty) - (other === empty) || a - b;
    return (view.down ? other - one : one - other) || a - b;
  });
}

const wanted = (column) => view.columns.get(column.key) ?? column.shown;
const sorting = () => columnOf(view.sort) ?? percents()[0] ?? columnOf("started"); // by the score, until somebody says else

function columnChoice() {
  const box = (column) =>
    made("label", {}, made("input", {
      type: "checkbox", checked: wanted(column),
      onchange: (event) => {
        view.columns.set(column.key, event.target.checked);
        drawTable();
      },
    }), column.title);
  at("columns").replaceChildren(...board.columns.filter(known).map(box));
}

function heading(column) {
  const on = sorting() === column;
  const sort = () => {
    Object.assign(view, { down: on ? !view.down : column.kind !== "text", sort: column.key, page: 0 });
    update();
  };
  const order = on ? (view.down ? "descending" : "ascending") : "none";
  const arrow = on ? (view.down ? " ↓" : " ↑") : "";
  return made("th", { scope: "col", class: column.kind === "text" ? "text" : "", "aria-sort": order },
    made("button", { type: "button", onclick: sort }, column.title + arrow));
}

function line(run, columns) {
  const tick = made("input", { type: "checkbox", "aria-label": `choose ${nameOf(run)}`, checked: view.chosen.has(nameOf(run)), onchange: () => choose(run) });
  const mark = made("i", { style: `background:${view.chosen.has(nameOf(run)) ? colourOf(run) : "transparent"}` });
  const link = board.reports[run] ? made("a", { href: board.reports[run] }, nameOf(run)) : nameOf(run);
  const cell = (column) => {
    const state = column.key === "state" ? made("span", { class: shown(column, run).replace(/\W/g, "") }, shown(column, run)) : shown(column, run);
    return made("td", { class: column.kind === "text" ? "text" : "" }, state);
  };
  const own = made("tr", {}, made("td", { class: "text run" }, made("div", {}, tick, mark, link)), ...columns.map(cell));
  const said = board.errors[run];
  return said ? [own, made("tr", { class: "below" }, made("td", { colspan: columns.length + 1 }, made("p", {}, said)))] : [own];
}

function drawTable() {
  const columns = board.columns.filter((column) => wanted(column) && known(column));
  const pages = Math.max(1, Math.ceil(rows.length / PAGE));
  view.page = Math.min(view.page, pages - 1);
  const first = view.page * PAGE;
  at("head").replaceChildren(made("th", { scope: "col", class: "text run" }, "run"), ...columns.map(heading));
  at("body").replaceChildren(...rows.slice(first, first + PAGE).flatMap((run) => line(run, columns)));
  const states = new Map();
  for (const run of rows) states.set(shown(columnOf("state"), run), (states.get(shown(columnOf("state"), run)) ?? 0) + 1);
  const counts = [...states].map(([state, number]) => `${number.toLocaleString("en")} ${state}`).join(", ");
  at("count").textContent = `${rows.length.toLocaleString("en")} of ${board.runs.length.toLocaleString("en")} runs${counts && ": "}${counts}`;
  at("place").textContent = rows.length ? `${first + 1} to ${Math.min(first + PAGE, rows.length)}` : "none";
  at("back").disabled = view.page === 0;
  at("on").disabled = view.page === pages - 1;
  at("none").hidden = view.chosen.size === 0;
}

function choose(run) {
  view.chosen[view.chosen.has(nameOf(run)) ? "delete" : "add"](nameOf(run));
  update();
}

// The runs that charts and pictures are about: the chosen ones, else the first of the table.
function subjects(most, fits = () => true) {
  const chosen = [...board.runs.keys()].filter((run) => view.chosen.has(nameOf(run)) && fits(run));
  return [...new Set([...chosen, ...(view.chosen.size ? [] : rows.filter(fits))])].slice(0, most);
}

function update() {
  chooseRows();
  palette = new Map(subjects(100).map((run, place) => [run, place]));
  drawTable();
  drawCharts();
  drawMatrix();
}

function turn(by) {
  view.page += by;
  drawTable();
}

async function follow() {
  try {
    const answer = await fetch("data.json", { headers: { "If-None-Match": settings.version } });
    if (answer.status === 200) {
      settings.version = answer.headers.get("ETag");
      load(await answer.json());
    }
    at("live").textContent = board.waiting ? `live; ${board.waiting.toLocaleString("en")} runs are still to be read whole` : "live";
  } catch {
    at("live").textContent = "the server is gone: what is shown stays as it was";
  }
  setTimeout(follow, board.waiting ? settings.every / 2 : settings.every);
}

let typed = 0;
at("filter").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => {
    view.page = 0;
    update();
  }, 120);
});
at("group").addEventListener("change", () => {
  view.page = 0;
  update();
});
at("back").addEventListener("click", () => turn(-1));
at("on").addEventListener("click", () => turn(1));
at("none").addEventListener("click", () => {
  view.chosen.clear();
  update();
});
for (const id of ["metric", "cost", "score"]) at(id).addEventListener("change", () => drawCharts());
