"use strict";
// One state, and charts that are given their rows whenever it changes. Texts are only ever set as text.
(() => {
  const started = performance.now();
  const {data, charts} = JSON.parse(document.getElementById("content").textContent);
  const at = id => document.getElementById(id);
  const state = {task: 0, baseline: data.baseline, seed: null, example: null,
    shown: new Set(data.shown), curve: Object.keys(data.curves)[0]};
  const views = {};
  const kinds = ["right", "1 edit", "2 edits", "3 or more"];
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // What each chart shows

  const named = variant => ({variant: data.variants[variant], order: variant});
  const here = variant => state.shown.has(variant);
  const followed = seed => state.seed === null || seed === null || seed === state.seed;

  function differences() {
    const base = new Map();
    const runs = data.runs.filter(run => run[1] === state.task);
    for (const run of runs) if (run[0] === state.baseline) base.set(run[2], run);
    const alike = (one, other) => one[5] < 0 || other[5] < 0 || one[5] === other[5];
    const mixed = new Set(runs.filter(run => base.has(run[2]) && !alike(run, base.get(run[2]))).map(run => run[0]));
    const rows = [], alone = new Map();
    for (const run of runs) {
      const [variant, , seed, score, failed] = run;
      if (!here(variant) || mixed.has(variant)) continue;
      if (!base.has(seed)) { alone.set(variant, (alone.get(variant) || 0) + 1); continue; }
      const lane = data.seeds.length < 2 || variant === state.baseline ? 0 : (data.seeds.indexOf(seed) % 5) / 2 - 1;
      rows.push({...named(variant), seed, score, lane, difference: score - base.get(seed)[3], status: failed ? "failed" : "finished"});
    }
    const said = [...mixed].filter(here).map(one => `${data.variants[one]} was not measured as the baseline was.`)
      .concat([...alone].map(([one, number]) => `${data.variants[one]}: ${number} seeds that the baseline has not.`));
    at("left_out").textContent = said.join(" ");
    return rows;
  }

  function learning() {
    return (data.curves[state.curve] || []).filter(one => one[1] === state.task && here(one[0]))
      .flatMap(([variant, , seed, updates, values]) =>
        updates.map((update, index) => ({...named(variant), seed, update, value: values[index]})));
  }

  function positions() {
    return data.positions.filter(one => one[1] === state.task && here(one[0]))
      .flatMap(([variant, , position, free, forced]) => [
        {...named(variant), position, how: "generated freely", value: free},
        {...named(variant), position, how: "given the true tokens", value: forced}]);
  }

  function errors() {
    return data.errors.filter(one => one[1] === state.task && here(one[0]) && followed(one[2]))
      .flatMap(([variant, , seed, ...counts]) =>
        counts.map((number, rank) => ({...named(variant), seed, kind: kinds[rank], rank, number})));
  }

  function examples() {
    const {rows, right} = data.examples[state.task];
    const sums = new Map();
    for (const [variant, seed, bits, of] of right) {
      if (!here(variant) || !followed(seed)) continue;
      const sum = sums.get(variant) || {of: 0, right: rows.map(() => 0)};
      sum.of += of;
      bits.forEach((bit, place) => { sum.right[place] += bit; });
      sums.set(variant, sum);
    }
    return [...sums].flatMap(([variant, sum]) => sum.right.map((number, place) =>
      ({...named(variant), place, example: rows[place], right: number, of: sum.of, share: number / sum.of})));
  }

  const rowsOf = {differences, learning, positions, errors, examples};

  // What is written

  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  // The first cell of a row; a long name breaks behind a mark, not within a word.
  function name_of_row(text) {
    const made = Object.assign(element("th"), {scope: "row"});
    text.split(/(?<=[._=,\/])/).forEach((part, index) => made.append(...(index ? [element("wbr")] : []), part));
    return made;
  }

  function stroke(variant) {
    const space = "http://www.w3.org/2000/svg";
    const made = document.createElementNS(space, "svg"), line = document.createElementNS(space, "line");
    made.setAttribute("class", "stroke");
    made.setAttribute("viewBox", "0 0 32 12");
    made.setAttribute("aria-hidden", "true");
    for (const [name, value] of Object.entries({x1: 0, x2: 32, y1: 6, y2: 6})) line.setAttribute(name, value);
    line.setAttribute("stroke", data.colours[variant]);
    line.setAttribute("stroke-dasharray", data.dashes[variant].join(" "));
    made.append(line);
    return made;
  }

  function read() {
    const {number, rows, texts} = data.examples[state.task];
    at("of_examples").textContent = rows.length
      ? `${rows.length} of ${number} test examples, easy to hard from left to right` +
        (rows.length < number ? " (evenly spaced in that order)" : "") + "; click one to read what was written."
      : "Nobody knows which examples were right.";
    at("reading").replaceChildren();
    at("which").textContent = "";
    if (state.example === null || !rows.length) return;
    at("which").textContent = `example ${rows[state.example]} of the test split, ${state.example + 1} of ${rows.length} from the easiest`;
    const text = texts[state.example];
    if (!text) { at("reading").append(element("p", "There is no room for the texts of this example: see predictions.jsonl of each run.")); return; }
    const table = element("table"), body = element("tbody");
    const line = (head, cell) => { const row = element("tr"); row.append(name_of_row(head), cell); body.append(row); };
    line("source", element("td", text.source));
    line("target", element("td", text.targets.join("\n")));
    for (const [variant, said] of text.said) {
      if (!here(variant)) continue;
      const cell = element("td");
      for (const [prediction, right, seeds] of said) {
        if (state.seed !== null && !seeds.includes(state.seed)) continue;
        if (cell.childNodes.length) cell.append("\n");
        cell.append(element("span", `${right ? "✓" : "✗"} ${prediction}`, right ? "right" : "wrong"));
        cell.append(element("span", `  ×${seeds.length}, seed ${seeds.slice(0, 12).join(", ")}${seeds.length > 12 ? ", …" : ""}`, "count"));
      }
      line(data.variants[variant], cell);
    }
    table.append(body);
    at("reading").append(table);
  }

  // Step by step

  const leanings = [["summary", "summary"], ["memory", "memory"], ["previous token", "previous"]];

  function bar(share, kind) {
    const made = element("span", "", `bar ${kind}`);
    made.style.width = `${(share || 0) * 8}rem`;
    return made;
  }

  function stepped() {
    const examples = data.steps[state.task], shown = examples[state.stepped];
    at("stepper").hidden = !examples.length;
    if (!shown) return;
    const said = shown.said.filter(one => here(one[0]));
    const longest = Math.max(1, ...said.map(one => one[2].length));
    state.step = Math.max(0, Math.min(state.step, longest - 1));
    at("step").textContent = `step ${state.step + 1} of ${longest}; source: ${shown.source.join(" ")}`;
    const table = element("table"), head = element("tr"), body = element("tbody");
    const names = ["variant", "written", "five best tokens", "leaned on", "attention"];
    for (const name of names) head.append(Object.assign(element("th", name), {scope: "col"}));
    for (const [variant, seed, written, best, attention, leaned] of said) {
      const row = element("tr"), cells = [0, 1, 2, 3].map(() => element("td"));
      // Where the columns have no room they stand below each other, each with its heading.
      cells.forEach((cell, index) => cell.dataset.head = names[index + 1]);
      row.append(name_of_row(data.variants[variant]), ...cells);
      written.forEach((token, step) => cells[0].append(element("span", token, step === state.step ? "step" : ""), " "));
      cells[0].append(element("span", ` seed ${seed}`, "count"));
      if (state.step >= written.length) cells[1].append("has ended");
      else {
        for (const [token, share] of best[state.step]) cells[1].append(`${token} ${share === null ? "?" : share.toFixed(2)}`, bar(share, ""));
        leaned[state.step].forEach((share, which) => cells[2].append(
          `${leanings[which][0]} ${share === null ? "(alike in all)" : share.toFixed(2)}`, bar(share, leanings[which][1])));
        cells[3].className = "attention";
        if (attention === null) cells[3].append("none");
        else attention[state.step].forEach((percent, place) => {
          if (place >= shown.source.length) return;
          const token = element("span", shown.source[place]);
          token.title = `${percent} %`;
          token.style.backgroundColor = `rgb(0 158 115 / ${percent}%)`;
          cells[3].append(token, " ");
        });
      }
      body.append(row);
    }
    const top = element("thead");
    top.append(head);
    table.append(top, body);
    at("steps").replaceChildren(table);
  }

  function choose_stepped() {
    const examples = data.steps[state.task];
    fill(at("stepped"), examples.map(one => `${one.row}: ${one.source.join(" ").slice(0, 40)}`), examples.map((_, index) => index));
    state.stepped = state.step = 0;
  }

  // What is chosen

  function fill(select, texts, values) {
    select.replaceChildren(...texts.map((text, index) => Object.assign(element("option", text), {value: String(values[index])})));
  }

  function control(id, key, parse) {
    at(id).addEventListener("change", event => { state[key] = parse(event.target.value); if (key === "task") { state.example = null; choose_stepped(); } update(); });
  }

  function controls() {
    const numbers = list => list.map((_, index) => index);
    fill(at("task"), data.tasks, numbers(data.tasks));
    fill(at("baseline"), data.variants, numbers(data.variants));
    fill(at("seed"), ["all", ...data.seeds.map(String)], ["", ...data.seeds]);
    fill(at("curve"), Object.keys(data.curves), Object.keys(data.curves));
    control("task", "task", Number);
    control("baseline", "baseline", Number);
    control("seed", "seed", text => text === "" ? null : Number(text));
    control("curve", "curve", String);
    data.variants.forEach((name, variant) => {
      const label = element("label"), box = element("input");
      box.type = "checkbox";
      box.value = String(variant);
      box.checked = state.shown.has(variant);
      box.addEventListener("change", () => { state.shown[box.checked ? "add" : "delete"](variant); update(); });
      const route = document.querySelector(`#routes [data-variant="${variant}"]`);
      label.append(box, stroke(variant), ...(route ? [route] : []), name);
      at("variants").append(label);
    });
    const go = by => () => {
      const {rows} = data.examples[state.task];
      if (!rows.length) return;
      state.example = state.example === null ? (by > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(rows.length - 1, state.example + by));
      update();
    };
    choose_stepped();
    at("stepped").addEventListener("change", event => { state.stepped = Number(event.target.value); state.step = 0; stepped(); });
    at("back").addEventListener("click", () => { state.step -= 1; stepped(); });
    at("on").addEventListener("click", () => { state.step += 1; stepped(); });
    at("easier").addEventListener("click", go(-1));
    at("harder").addEventListener("click", go(1));
  }

  // Charts

  const nothing = {load: () => Promise.reject(new Error("nothing is loaded")), sanitize: () => Promise.reject(new Error("nothing is loaded"))};

  function theme() {
    const value = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map(value);
    return {background: null, view: {stroke: line}, font: "system-ui, sans-serif",
      axis: {labelColor: ink, titleColor: ink, gridColor: line, domainColor: soft, tickColor: soft, labelFontSize: 11, titleFontSize: 11},
      legend: {labelColor: ink, titleColor: ink}};
  }

  function draw(name) {
    if (views[name]) views[name].finalize();
    const spec = vegaLite.compile(charts[name], {config: theme(), logger: vega.logger(vega.Error)}).spec;
    const view = new vega.View(vega.parse(spec, null, {ast: true}), {
      expr: vegaInterpreter.expressionInterpreter, container: at(name), renderer: "canvas", loader: nothing, logLevel: vega.Warn});
    view.addEventListener("click", (_, item) => clicked(name, item && item.datum));
    views[name] = view;
  }

  function clicked(name, datum) {
    if (name === "differences") {
      state.seed = datum && datum.seed !== undefined && datum.seed !== state.seed ? datum.seed : null;
      at("seed").value = state.seed === null ? "" : String(state.seed);
    } else if (name === "examples" && datum && datum.place !== undefined) state.example = datum.place;
    else return;
    update();
  }

  async function update() {
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
    const known = {seed: state.seed, example: state.example, ink};
    read();
    stepped();
    await Promise.all(Object.entries(views).map(([name, view]) => {
      for (const {name: signal} of charts[name].params || []) if (signal in known) view.signal(signal, known[signal]);
      const rows = rowsOf[name]();
      at(name).toggleAttribute("data-empty", !rows.length);
      return view.change("rows", vega.changeset().remove(() => true).insert(rows)).resize().runAsync();
    }));
    document.documentElement.dataset.updated = String(Number(document.documentElement.dataset.updated || 0) + 1);
  }

  function start() { Object.keys(charts).forEach(draw); return update(); }

  controls();
  at("task").value = "0";
  at("baseline").value = String(state.baseline);
  start().then(() => { document.documentElement.dataset.drawn = String(Math.round(performance.now() - started)); });
  dark.addEventListener("change", start);
  addEventListener("resize", () => Object.values(views).forEach(view => view.resize().runAsync()));
  globalThis.explored = {state, views, rowsOf, update};
})();
