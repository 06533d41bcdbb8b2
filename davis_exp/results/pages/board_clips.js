// The matrix of clips and runs, and the frames behind a cell side by side.

const RUNS = 16, CLIPS = 40; // of the matrix
const BESIDE = 4; // runs side by side
const FRAMES = 5;

function drawMatrix() {
  const places = board.clips.map((clip) => new Map(clip.runs.map((run, place) => [run, place])));
  const tested = new Set(board.clips.flatMap((clip) => clip.runs));
  const able = rows.filter((run) => tested.has(run));
  const runs = [...new Set([...subjects(RUNS, (run) => tested.has(run)), ...able])].slice(0, RUNS);
  at("matrix").hidden = !runs.length;
  if (!runs.length) return;
  const order = board.clips.map((clip, i) => {
    const values = runs.filter((run) => places[i].has(run)).map((run) => clip.J[places[i].get(run)]);
    return [i, values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : Infinity];
  });
  const worst = order.filter(([, mean]) => mean < Infinity).sort((a, b) => a[1] - b[1]);
  at("matrix-said").textContent =
    `J in percent; the worst clips first, ${runs.length} of ${able.length.toLocaleString("en")} runs in the table's order` +
    `${worst.length > CLIPS ? `, the first ${CLIPS} of ${worst.length} clips` : ""}. A click on a cell shows its frames.`;
  const last = (name) => name.split("/").slice(-2).join("/");
  at("matrix-head").replaceChildren(
    made("th", { scope: "col", class: "text run" }, "clip"), made("th", { scope: "col" }, "mean"),
    ...runs.map((run) => made("th", { scope: "col", class: "turned", title: nameOf(run) }, made("span", {}, last(nameOf(run))))));
  at("matrix-body").replaceChildren(...worst.slice(0, CLIPS).map(([i, mean]) => {
    const clip = board.clips[i];
    const cell = (run) => {
      const place = places[i].get(run);
      if (place === undefined) return made("td", {}, "-");
      const value = clip.J[place];
      const on = view.cell && view.cell[0] === clip.name && view.cell[1] === nameOf(run);
      return made("td", { style: `background:${mixed("--bad", "--paper", 0.35 * (1 - value / 1000))}` },
        made("button", {
          type: "button", "aria-pressed": String(Boolean(on)), "aria-label": `${clip.name}, ${nameOf(run)}: ${value / 10}`,
          onclick: () => {
            view.cell = [clip.name, nameOf(run)];
            drawMatrix();
            showFrames(clip, run, runs);
            at("frames").scrollIntoView({ block: "nearest" });
          },
        }, (value / 10).toFixed(1)));
    };
    return made("tr", {}, made("th", { scope: "row", class: "text run" }, clip.name), made("td", {}, (mean / 10).toFixed(1)), ...runs.map(cell));
  }));
}

function showFrames(clip, run, inMatrix) {
  const others = [...new Set([...subjects(BESIDE), ...inMatrix])].filter((other) => other !== run && clip.runs.includes(other));
  const beside = [run, ...others.slice(0, BESIDE - 1)];
  const own = clip.worst[clip.runs.indexOf(run)];
  const there = (frame) => settings.every || beside.some((other) => `${nameOf(other)}\n${frame}` in board.stills);
  const frames = [...new Set([own, ...clip.frames])].slice(0, FRAMES).filter(there);
  const scoreOf = (other, frame) => {
    const place = clip.runs.indexOf(other);
    if (clip.worst[place] === frame) return clip.lowest[place];
    return clip.frame_J[place][clip.frames.indexOf(frame)] ?? null;
  };
  const picture = (other, frame) => {
    const value = scoreOf(other, frame);
    const said = `${nameOf(other)}${value === null ? "" : `: J ${(value / 10).toFixed(1)}`}`;
    const source = settings.every
      ? `still?${new URLSearchParams({ run: nameOf(other), frame })}`
      : board.stills[`${nameOf(other)}\n${frame}`];
    const missing = (why) => made("p", { class: "soft" }, why);
    if (!source) return made("figure", {}, missing("not among the pictures in this file"), made("figcaption", {}, said));
    const image = made("img", { src: source, alt: `frame ${frame} of ${nameOf(other)}` });
    image.addEventListener("error", async () => {
      const answer = await fetch(source).catch(() => null);
      image.replaceWith(missing(answer ? await answer.text() : "the server is gone"));
    });
    return made("figure", {}, image, made("figcaption", {}, said));
  };
  at("frames").replaceChildren(
    made("h3", {}, `${clip.name}: the frames that go worst`),
    ...(settings.every ? [] : [made("p", { class: "soft" }, frames.length ? "More of them: davis-exp board without -o." : "None of them is in this file; davis-exp board without -o shows all.")]),
    ...frames.flatMap((frame) => [
      made("p", { class: "soft" }, frame === own && !clip.frames.includes(own) ? `${frame}, the worst of ${nameOf(run)}` : `${frame}, bad for all`),
      made("div", { class: "panes" }, ...beside.map((other) => picture(other, frame))),
    ]));
}

let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(drawCharts, 150);
});
dark.addEventListener("change", () => update());
load(JSON.parse(at("board").textContent));
if (settings.every) setTimeout(follow, settings.every);
