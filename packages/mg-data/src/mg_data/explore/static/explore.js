// The page of `mg explore`. Texts of the data are set as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const state = { run: null, offset: 0, total: 0, page: 100, clips: [], clip: null, timer: null, asked: 0 };

function element(tag, text, classes) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

function fill(select, names) {
  for (const name of names) {
    const option = element("option", name);
    option.value = name;
    select.append(option);
  }
}

async function fetchJson(path, options) {
  const answer = await fetch(path, options);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function show(error) {
  byId("error").hidden = !error;
  byId("error").textContent = error ? error.message : "";
}

function percent(value) {
  return value === null ? "" : `${(100 * value).toFixed(1)} %`;
}

async function list() {
  const asked = new URLSearchParams();
  for (const [name, value] of new FormData(byId("filters"))) if (value !== "") asked.set(name, value);
  asked.set("offset", state.offset);
  const turn = ++state.asked;
  const found = await fetchJson(`api/clips?${asked}`);
  if (turn !== state.asked) return;
  Object.assign(state, { total: found.total, page: found.page, clips: found.clips });
  const rows = found.clips.map((clip) => {
    const row = element("tr");
    row.tabIndex = 0;
    row.dataset.id = clip.id;
    const answer = clip.right === null ? "" : clip.right ? "right" : "wrong";
    const marked = (clip.flag ? " ⚑" : "") + (clip.corrected ? ` → ${clip.corrected}` : "");
    row.append(element("td", clip.id), element("td", clip.subject), element("td", (clip.truth ?? "") + marked),
      element("td", clip.prediction, answer), element("td", percent(clip.confidence), "number"));
    row.setAttribute("aria-selected", String(state.clip !== null && state.clip.id === clip.id));
    return row;
  });
  byId("rows").replaceChildren(...rows);
  const share = found.known ? `, ${found.right} of ${found.known} right (${percent(found.right / found.known)})` : "";
  byId("summary").textContent = `${found.total} clips${share}`;
  const last = Math.min(found.total, found.offset + found.page);
  byId("pages").textContent = found.total ? `${found.offset + 1} to ${last} of ${found.total}` : "none";
  byId("back").disabled = found.offset === 0;
  byId("next").disabled = last >= found.total;
}

async function open(id) {
  stop();
  const clip = await fetchJson(`api/clip?${new URLSearchParams({ id })}`);
  state.clip = clip;
  byId("detail").hidden = false;
  for (const row of byId("rows").children) row.setAttribute("aria-selected", String(row.dataset.id === id));
  byId("clip").textContent = clip.id;
  const frames = (clip.stop ?? 0) - (clip.start ?? 0);
  const parts = [
    clip.truth === null ? "" : `truth: ${clip.truth}`, `prediction: ${clip.prediction ?? "none"} ${percent(clip.confidence)}`,
    `subject ${clip.subject || "unknown"}`, clip.video ? `video ${clip.video}, frames ${clip.start} to ${clip.stop}` : "",
    clip.disagreement ? `${clip.disagreement} branches disagree` : "all branches agree",
  ];
  byId("facts").textContent = parts.filter(Boolean).join(" · ");
  const streams = byId("stream");
  const before = streams.value;
  streams.replaceChildren(Object.assign(element("option", "none"), { value: "" }));
  fill(streams, clip.streams ?? []);
  streams.value = (clip.streams ?? []).includes(before) ? before : (clip.streams ?? [""])[0] ?? "";
  byId("player").hidden = !(state.run.can_draw && frames);
  byId("time").max = Math.max(0, frames - 1);
  byId("time").value = 0;
  draw();
  probabilities(clip);
  const form = byId("correction").elements;
  form.class_name.value = clip.correction.class_name;
  form.flag.checked = clip.correction.flag;
  form.note.value = clip.correction.note;
  byId("saved").textContent = "";
}

function frameAddress() {
  const flag = (id) => (byId(id).checked ? "1" : "0");
  const asked = { id: state.clip.id, frame: byId("time").value, stream: byId("stream").value, skeleton: flag("skeleton"),
    box: flag("box"), heatmap: flag("heatmap") };
  return `api/frame?${new URLSearchParams(asked)}`;
}

// Resolves when the frame is shown, so that playing never runs ahead of the drawing.
function draw() {
  if (byId("player").hidden) return Promise.resolve();
  const image = byId("frame");
  const number = Number(byId("time").value);
  image.alt = `frame ${number} of clip ${state.clip.id}`;
  byId("number").textContent = `${number + 1} / ${Number(byId("time").max) + 1}`;
  return new Promise((done) => {
    image.onload = done;
    image.onerror = () => { show(new Error("this frame cannot be drawn")); done(); };
    image.src = frameAddress();
  });
}

async function play() {
  byId("play").setAttribute("aria-pressed", "true");
  byId("play").textContent = "stop";
  const turn = (state.timer = Symbol("turn"));
  while (state.timer === turn) {
    const began = performance.now();
    const time = byId("time");
    time.value = Number(time.value) >= Number(time.max) ? 0 : Number(time.value) + 1;
    await draw();
    const wait = 1000 / (25 * Number(byId("speed").value)) - (performance.now() - began);
    await new Promise((done) => setTimeout(done, Math.max(0, wait)));
  }
}

function stop() {
  state.timer = null;
  byId("play").setAttribute("aria-pressed", "false");
  byId("play").textContent = "play";
}

function probabilities(clip) {
  const { classes, columns, decisive } = state.run;
  const known = clip.probabilities.filter(Boolean);
  const largest = classes.map((_, label) => Math.max(0, ...known.map((values) => values[label])));
  const order = classes.map((_, label) => label).sort((a, b) => largest[b] - largest[a]);
  const truth = classes.indexOf(clip.truth);
  const shown = order.slice(0, 6);
  if (truth >= 0 && !shown.includes(truth)) shown.push(truth);
  const head = element("tr");
  head.append(element("th", "class"), ...columns.map((name, place) =>
    element("th", name, place === decisive ? "number decisive" : "number")));
  byId("probabilities").tHead.replaceChildren(head);
  const rows = shown.map((label) => {
    const row = element("tr");
    row.append(element("th", classes[label] + (label === truth ? " (truth)" : ""), label === truth ? "truth" : ""));
    clip.probabilities.forEach((values, place) => {
      const cell = element("td", undefined, place === decisive ? "number decisive" : "number");
      if (values) {
        const bar = element("meter");
        bar.value = values[label];
        bar.title = `${classes[label]}, ${columns[place]}: ${percent(values[label])}`;
        cell.append(percent(values[label]), bar);
      }
      row.append(cell);
    });
    return row;
  });
  byId("probabilities").tBodies[0].replaceChildren(...rows);
}

async function save(event) {
  event.preventDefault();
  const form = byId("correction").elements;
  const said = { id: state.clip.id, class_name: form.class_name.value, flag: form.flag.checked, note: form.note.value };
  await fetchJson("api/correction", {
    method: "POST", body: JSON.stringify(said),
    headers: { "Content-Type": "application/json", "X-Mg-Explore": "1" },
  });
  byId("saved").textContent = "saved";
  await list();
}

function step(by) {
  const place = state.clips.findIndex((clip) => state.clip && clip.id === state.clip.id) + by;
  if (state.clips[place]) guard(open)(state.clips[place].id);
}

const guard = (work) => (...given) => Promise.resolve(work(...given)).then(() => show(null), show);

function first() {
  state.offset = 0;
  return list();
}

function listen() {
  byId("filters").addEventListener("input", guard(first));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(guard(first)));
  byId("rows").addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) guard(open)(row.dataset.id);
  });
  byId("rows").addEventListener("keydown", (event) => {
    if (event.key === "Enter") guard(open)(event.target.closest("tr").dataset.id);
  });
  byId("back").addEventListener("click", guard(() => { state.offset = Math.max(0, state.offset - state.page); return list(); }));
  byId("next").addEventListener("click", guard(() => { state.offset += state.page; return list(); }));
  byId("play").addEventListener("click", () => (state.timer ? stop() : guard(play)()));
  byId("time").addEventListener("input", () => { stop(); guard(draw)(); });
  for (const id of ["stream", "skeleton", "box", "heatmap"]) byId(id).addEventListener("change", guard(draw));
  byId("correction").addEventListener("submit", guard(save));
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select")) return;
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
    if (event.key === " " && state.clip && !event.target.closest("button")) {
      event.preventDefault();
      byId("play").click();
    }
  });
}

async function begin() {
  const run = (state.run = await fetchJson("api/run"));
  document.title = `${run.name}, mg explore`;
  byId("name").textContent = run.dataset ? `${run.name} (${run.dataset})` : run.name;
  const filters = byId("filters").elements;
  fill(filters.truth, run.classes);
  fill(filters.prediction, run.classes);
  fill(filters.subject, run.subjects);
  fill(filters.subset, run.subsets);
  fill(filters.disagree, Array.from({ length: run.branches }, (_, number) => String(number + 1)));
  fill(byId("correction").elements.class_name, run.classes);
  if (run.subsets.includes("target")) filters.subset.value = "target";
  listen();
  await list();
  if (state.clips.length) await open(state.clips[0].id);
}

guard(begin)();
