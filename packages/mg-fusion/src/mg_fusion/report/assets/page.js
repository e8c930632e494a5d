// The page is complete without this script; with it, cells and names list their clips, and things can be pointed at.
// Text of the data reaches the page by textContent alone, never as markup.
"use strict";
(() => {
  const table = JSON.parse(document.getElementById("clips").textContent);
  const columns = table.columns || [];
  const column = Object.fromEntries(columns.map((item) => [item.key, item]));
  const SHOWN = 500;

  function make(kind, text, name) {
    const node = document.createElement(kind);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  }

  // What a value of a column reads as. Names are looked up, shares come in hundredths of a per cent.
  function shown(item, row) {
    const value = item.values[row];
    if (item.kind === "share") return value < 0 ? "" : (value / 100).toFixed(2);
    const names = item.kind === "class" ? table.classes : item.names;
    return value < 0 ? "no answer" : names[value];
  }

  function list(place, title, rows) {
    place.replaceChildren();
    const close = make("button", "Close");
    close.type = "button";
    close.addEventListener("click", () => place.replaceChildren());
    const head = make("p");
    const more = rows.length > SHOWN ? `, the first ${SHOWN} of them here` : "";
    head.append(make("strong", title), `: ${rows.length} ${rows.length === 1 ? "clip" : "clips"}${more} `, close);
    place.append(head);
    if (!rows.length) return;
    const scroll = make("div", undefined, "scroll");
    const body = make("table");
    const names = make("tr");
    names.append(make("th", "clip"), ...columns.map((item) => make("th", item.title, item.kind === "share" ? "" : "text")));
    body.append(names);
    for (const row of rows.slice(0, SHOWN)) {
      const line = make("tr");
      line.append(make("td", table.ids[row]));
      for (const item of columns) {
        const cell = make("td", shown(item, row), item.kind === "share" ? "" : "text");
        if (item.kind === "class" && item.key !== "truth" && column.truth) {
          const right = item.values[row] === column.truth.values[row];
          cell.textContent = `${right ? "✓" : "✗"} ${cell.textContent}`;
          if (!right) cell.classList.add("wrong");
        }
        line.append(cell);
      }
      body.append(line);
    }
    scroll.append(body);
    place.append(scroll);
  }

  // "truth:3 fused/after:5" holds for the rows whose columns have these values.
  function where(text) {
    const tests = text.split(" ").map((part) => {
      const cut = part.lastIndexOf(":");
      return [column[part.slice(0, cut)], Number(part.slice(cut + 1))];
    });
    if (tests.some(([item]) => item === undefined)) return [];
    return table.ids.map((_, row) => row).filter((row) => tests.every(([item, value]) => item.values[row] === value));
  }

  function open(node) {
    const place = node.closest("section").querySelector(".clips");
    if (!place) return;
    document.querySelectorAll(".cell.on").forEach((cell) => cell.classList.remove("on"));
    if (node.classList.contains("cell")) node.classList.add("on");
    list(place, node.dataset.title, where(node.dataset.where));
    place.scrollIntoView({ block: "nearest" });
  }
  document.addEventListener("click", (event) => {
    const node = event.target.closest("[data-where]");
    if (node) open(node);
  });
  document.addEventListener("keydown", (event) => {
    const node = event.target.closest ? event.target.closest("g[data-where]") : null;
    if (node && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      open(node);
    }
  });

  for (const field of document.querySelectorAll("input.find")) {
    field.addEventListener("input", () => {
      const place = field.closest("section").querySelector(".clips");
      const wanted = field.value.trim().toLowerCase();
      if (!wanted) return place.replaceChildren();
      const rows = table.ids.map((_, row) => row).filter((row) => table.ids[row].toLowerCase().includes(wanted));
      return list(place, `ids with "${field.value.trim()}"`, rows);
    });
  }

  for (const field of document.querySelectorAll("select.switch")) {
    field.addEventListener("change", () => {
      for (const part of field.closest("section").querySelectorAll(".choice")) {
        part.hidden = part.dataset.choice !== field.value;
      }
    });
  }

  for (const field of document.querySelectorAll("input.zoom")) {
    const charts = [...field.closest("section").querySelectorAll("svg.matrix")];
    const sizes = charts.map((chart) => [Number(chart.getAttribute("width")), Number(chart.getAttribute("height"))]);
    field.addEventListener("input", () => {
      charts.forEach((chart, place) => {
        chart.setAttribute("width", sizes[place][0] * Number(field.value));
        chart.setAttribute("height", sizes[place][1] * Number(field.value));
      });
    });
  }

  // Points of a plane: bring one class out; name the clip nearest to the pointer.
  for (const plane of document.querySelectorAll(".plane")) {
    const points = (table.planes || {})[plane.id];
    const tools = document.querySelector(`select.bring[data-plane="${plane.id}"]`);
    const nearest = tools.closest(".tools").querySelector(".nearest");
    const groups = plane.querySelectorAll("[data-class]");
    tools.addEventListener("change", () => {
      for (const group of groups) {
        group.classList.toggle("front", tools.value !== "" && group.dataset.class === tools.value);
        group.classList.toggle("away", tools.value !== "" && group.dataset.class !== tools.value);
      }
    });
    const chart = plane.querySelector("svg");
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const scale = chart.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      let best = -1;
      let least = 100;
      points.x.forEach((value, row) => {
        const far = (value - x) ** 2 + (points.y[row] - y) ** 2;
        if (far < least) [best, least] = [row, far];
      });
      nearest.textContent = best < 0 ? "" : points.id[best];
    });
  }

  // <title> of a shape is its text without this script; with it, the text appears at once and at the pointer.
  const tip = make("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  document.addEventListener("pointermove", (event) => {
    const shape = event.target.closest ? event.target.closest("svg rect, svg circle, svg g") : null;
    if (!shape) {
      tip.hidden = true;
      return;
    }
    const title = shape.querySelector(":scope > title");
    if (title) {
      shape.dataset.tip = title.textContent;
      title.remove();
    }
    const text = shape.dataset.tip || (shape.closest("[data-tip]") || { dataset: {} }).dataset.tip;
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    tip.style.left = `${Math.min(event.clientX + 12, window.innerWidth - tip.offsetWidth - 8)}px`;
    const below = event.clientY + 16;
    tip.style.top = `${below + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 8 : below}px`;
  });

  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : window.matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  });

  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
})();
