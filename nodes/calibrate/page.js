"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const page = document.getElementById("page");
  // Okabe and Ito: told apart by people who see colours otherwise.
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31",
                   "#444444", "#B2182B", "#1B9E77", "#6A3D9A"];
  const LEVELS = { bad: "var(--bad)", suspect: "var(--suspect)", note: "var(--soft)", unverified: "var(--unverified)" };
  const FONT = { family: "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif", size: 13, color: "#1b1f24" };
  const CONFIG = { responsive: true, displaylogo: false,
                   modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const colour = (v) => COLOURS[v % COLOURS.length];
  const dash = (v) => ["solid", "dash", "dot"][Math.floor(v / COLOURS.length) % 3];

  // ------------------------------------------------------------------ words and numbers
  const known = (x) => x !== null && x !== undefined && Number.isFinite(x);
  const number = (x, digits = 2) => known(x) ? x.toFixed(digits) : "–";
  const whole = (x) => known(x) ? Math.round(x).toString().replace(/\B(?=(\d{3})+$)/g, " ") : "–";
  const percent = (x, digits = 1) => known(x) ? `${(100 * x).toFixed(digits)} %` : "–";
  // As many digits as the uncertainty is worth.
  const digitsOf = (deviation) => known(deviation) && deviation > 0
    ? Math.min(4, Math.max(0, 1 - Math.floor(Math.log10(deviation)))) : 2;
  const plain = (text) => /^-0(\.0*)?$/.test(text) ? text.slice(1) : text;
  const measured = (x, deviation) => !known(x) ? "–"
    : known(deviation) && deviation > 0
      ? `${plain(x.toFixed(digitsOf(deviation)))} ± ${deviation.toFixed(digitsOf(deviation))}` : plain(x.toFixed(1));

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  const add = (...elements) => page.append(...elements);
  const section = (title, text) => { add(make("h2", {}, title)); if (text) add(make("p", { class: "soft" }, text)); };

  function table(head, rows, total) {
    const body = rows.map((row, i) => {
      const cells = row.map((cell) => typeof cell === "string" || typeof cell === "number"
        ? make("td", {}, String(cell)) : cell);
      return make("tr", total && i === rows.length - 1 ? { class: "total" } : {}, ...cells);
    });
    const header = make("tr", {}, ...head.map((word) => make("th", {}, ...lines(word))));
    return make("div", { class: "wide" }, make("table", {}, make("thead", {}, header), make("tbody", {}, ...body)));
  }
  const lines = (word) => word.split("\n").flatMap((part, i) => i ? [make("br"), part] : [part]);
  const textCell = (text) => make("td", { class: "text" }, text);

  function plot(parent, height, traces, layout, config = {}) {
    const place = make("div", { class: "plot", style: `height:${height}px` });
    parent.append(place);
    const whole = { font: FONT, margin: { l: 62, r: 16, t: 10, b: 48 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
                    hoverlabel: { font: FONT }, ...layout };
    Plotly.newPlot(place, traces, whole, { ...CONFIG, ...config });
    return place;
  }
  const axis = (title, more = {}) => ({ title: { text: title, standoff: 8 }, gridcolor: "#e6eaee", zeroline: false,
                                        linecolor: "#9aa4af", showline: true, ticks: "outside", ...more });

  // ------------------------------------------------------------------ the verdict
  const outcome = data.outcome;
  const cameras = outcome.cameras || [];
  const names = cameras.map((camera) => camera.name);

  function verdict() {
    add(make("h1", {}, data.title), make("div", { class: "soft" }, data.subtitle));
    const reasons = outcome.reasons.map((reason) => make("li", {},
      make("span", { class: "tag", style: `--colour:${LEVELS[reason.level] || LEVELS.note}` }, reason.level),
      reason.cameras.length ? make("b", {}, `${reason.cameras.join(", ")}: `) : null,
      reason.what, reason.remedy ? make("span", { class: "soft" }, ` – ${reason.remedy}`) : null));
    if (!reasons.length) reasons.push(make("li", {}, "Nothing speaks against this calibration."));
    add(make("div", { class: "verdict", style: `--colour:var(--${outcome.verdict})` },
      make("div", { class: "word" }, outcome.verdict),
      make("div", {}, make("div", {}, data.meaning), make("ul", { class: "reasons" }, ...reasons))));
  }

  function figures() {
    const items = [];
    const give = (value, words) => items.push(make("div", { class: "figure" }, make("b", {}, value), make("span", {}, words)));
    const spread = outcome.spread;
    if (spread) {
      give(`${number(spread.rms_px, 3)} px`, "rms of the residuals");
      give(`${number(spread.median_px, 3)} px`, "median");
      give(`${number(spread.p95_px, 3)} px`, "95 % are below");
      give(percent(spread.rejected_share), `of ${whole(spread.count + spread.rejected)} points rejected`);
    }
    const held = outcome.held_out;
    if (held && held.blocks) give(`${number(held.spread.rms_px, 3)} px`, "rms at moments that were held out");
    if (outcome.rigidity) {
      const rigidity = outcome.rigidity;
      give(`${number(rigidity.rms_mm, 2)} mm`, `rms error of distances on the board (${percent(rigidity.relative, 2)})`);
    }
    if (items.length) add(make("div", { class: "figures" }, ...items));
  }

  function tape() {
    if (!outcome.tape || !outcome.tape.length) return;
    const rows = outcome.tape.map((one) => make("div", {},
      `${one.cameras[0]} to ${one.cameras[1]}: `, make("b", {}, `${whole(one.distance_mm)} mm`),
      make("span", { class: "soft" }, ` ± ${number(Math.max(one.deviation_mm, 0.05), 1)} mm`)));
    add(make("div", { class: "tape" }, make("h3", {}, "Hold a tape measure against this"), ...rows,
      make("p", { class: "soft" }, "From lens to lens. A wrong square size makes all distances wrong by the same share "
        + "and can be seen in no residual: only a tape measure shows it.")));
  }

  // ------------------------------------------------------------------ the rig in 3D
  function scene() {
    const view = data.scene;
    if (!view) return;
    section("The rig", `Positions in mm${view.world}. Each pyramid is what a camera sees, its thick edge the picture's `
      + `upper one${view.boards.length ? "; grey frames are where the board was" : ""}.`);
    const line = (points, more) => {
      const [x, y, z] = [0, 1, 2].map((k) => points.map((p) => p === null ? null : p[k]));
      return { type: "scatter3d", mode: "lines", x, y, z, hoverinfo: "skip", showlegend: false, ...more };
    };
    const traces = [];
    if (view.boards.length) {
      const outline = view.boards.flatMap((board) => [...board, board[0], null]);
      traces.push(line(outline, { line: { color: "#9aa4af", width: 2 }, name: "board", showlegend: true }));
    }
    view.cameras.forEach((camera, v) => {
      const [a, b, c, d] = camera.corners;
      const o = camera.center;
      traces.push(line([a, b, c, d, a, null, o, a, null, o, b, null, o, c, null, o, d],
                       { line: { color: colour(v), width: 5 } }));
      // The thick edge is the picture's upper one.
      traces.push(line([a, b], { line: { color: colour(v), width: 10 } }));
      traces.push({ type: "scatter3d", mode: "markers", x: [o[0]], y: [o[1]], z: [o[2]], marker: { size: 5, color: colour(v) },
        name: camera.name, showlegend: false,
        hovertemplate: `${camera.name}<br>x %{x:.0f} mm<br>y %{y:.0f} mm<br>z %{z:.0f} mm<extra></extra>` });
    });
    const labels = view.cameras.map((camera, v) => ({ x: camera.center[0], y: camera.center[1], z: camera.center[2],
      text: `<b>${camera.name}</b>`, showarrow: false, yshift: 16, font: { size: 14, color: colour(v) },
      bgcolor: "rgba(255,255,255,0.75)" }));
    const axis3 = (title) => ({ title: { text: title }, backgroundcolor: "#f7f9fb", gridcolor: "#dfe4ea", showbackground: true,
                                zerolinecolor: "#b8c0c9", tickfont: { size: 11 } });
    const place = plot(page, 620, traces, {
      margin: { l: 0, r: 0, t: 0, b: 0 }, legend: { x: 0.01, y: 0.98 },
      scene: { annotations: labels, aspectmode: "data", dragmode: "orbit", camera: { up: view.up, eye: view.eye, center: view.middle },
               xaxis: axis3("x, mm"), yaxis: axis3("y, mm"), zaxis: axis3("z, mm") },
    });
    place.id = "rig";
  }

  // ------------------------------------------------------------------ per camera
  function cameraTable() {
    if (!cameras.length) return;
    if (!data.placed) { lensTable(); return; }
    section("Each camera", "Residuals in px: of the whole rig's solution; own = what the camera alone leaves (corners and "
      + "lens model), which the rig's cannot be below; held out = at moments that the solution did not see; predicted = "
      + "distance from where the other cameras alone say that the points are.");
    const rows = cameras.map((c) => [c.name, String(c.views), number(c.spread.rms_px, 3), number(c.spread.median_px, 3),
      number(c.spread.p95_px, 3), percent(c.spread.rejected_share), number(c.own_rms_px, 3), number(c.held_out_rms_px, 3),
      number(c.predicted_rms_px, 3), percent(c.covered, 0),
      known(c.distance_mm[0]) ? `${whole(c.distance_mm[0])} – ${whole(c.distance_mm[1])}` : "–"]);
    if (outcome.spread && rows.length > 1) {
      const all = outcome.spread, held = outcome.held_out;
      rows.push(["all", String(outcome.frames.length), number(all.rms_px, 3), number(all.median_px, 3),
        number(all.p95_px, 3), percent(all.rejected_share), "", held && held.blocks ? number(held.spread.rms_px, 3) : "–",
        held && held.blocks ? number(held.predicted.rms_px, 3) : "–", "", ""]);
    }
    add(table(["camera", "views", "rms", "median", "p95", "rejected", "own\nrms", "held out\nrms", "predicted\nrms",
      "picture\ncovered", "board at\nmm"], rows, rows.length > cameras.length));
    add(make("h3", { style: "margin-top:18px" }, "What it says, and how sure it is (one standard deviation)"));
    const sure = cameras.map((c) => [c.name,
      c.focal_px.map((f, k) => measured(f, c.focal_deviation_px[k])).join(" ; "), c.intrinsics,
      c.focal_observable === null ? "given" : c.focal_observable ? "yes" : "no",
      ...c.position_mm.map((x, k) => measured(x, c.position_deviation_mm[k])),
      c.rotation_deviation_deg.some((x) => x > 0) ? c.rotation_deviation_deg.map((x) => number(x, 3)).join(" ; ") : "held"]);
    add(table(["camera", "focal length\nfx ; fy, px", "intrinsics", "focal length\nobservable", "x, mm", "y, mm", "z, mm",
      "rotation ± about its\nx ; y ; z, degrees"], sure));
    add(make("p", { class: "soft" }, "The first camera defines the world, so its place has no uncertainty of its own; "
      + "a focal length without ± was given and held."));
  }

  function lensTable() {
    section("Each lens", "Residuals in px; held out = at views that the fit did not see. Focal lengths with one standard "
      + "deviation, from how much parts of the views disagree.");
    add(table(["camera", "views", "rms", "median", "p95", "rejected", "held out\nrms", "focal length\nfx ; fy, px",
      "lens model", "focal length\nobservable", "picture\ncovered", "board at\nmm"],
      cameras.map((c) => [c.name, String(c.views), number(c.spread.rms_px, 3), number(c.spread.median_px, 3),
        number(c.spread.p95_px, 3), percent(c.spread.rejected_share), number(c.held_out_rms_px, 3),
        c.focal_px.map((f, k) => measured(f, c.focal_deviation_px[k])).join(" ; "), textCell(c.intrinsics.split(",")[0]),
        c.focal_observable ? "yes" : "no", percent(c.covered, 0),
        known(c.distance_mm[0]) ? `${whole(c.distance_mm[0])} – ${whole(c.distance_mm[1])}` : "–"])));
  }

  function pictures() {
    const residuals = outcome.residuals;
    if (!cameras.length) return;
    section("Coverage and residuals in each picture",
      "Left: how many points lay in each part of the picture; white = none. Right: residuals where they are, enlarged as "
      + "said; arrows that lean one way together mean a lens model that does not fit, a lone long one a wrong corner.");
    const grid = make("div", { class: "grid" });
    add(grid);
    const margin = { l: 58, r: 8, t: 8, b: 46 };
    const bare = { displayModeBar: false };
    const limit = 620;
    cameras.forEach((camera, v) => {
      const [w, h] = data.sizes[v];
      const frame = (side) => side === "x" ? axis("x, px", { range: [-0.5, w - 0.5], constrain: "domain", showgrid: false })
        : axis("y, px", { range: [h - 0.5, -0.5], scaleanchor: "x", constrain: "domain", showgrid: false });
      const card = make("div", { class: "card" }, make("h3", {}, `${camera.name}: ${percent(camera.covered, 0)} covered`));
      grid.append(card);
      const inner = card.clientWidth - 26;
      // As high as the picture is at this width; the scale of counts beside it takes some.
      const height = (beside) => Math.min(limit, Math.round((inner - margin.l - margin.r - beside) * h / w) + margin.t + margin.b);
      const tall = Math.max(height(0), 200);
      const rows = camera.coverage.length, columns = camera.coverage[0].length;
      const top = Math.max(1, ...camera.coverage.flat());
      plot(card, tall, [{ type: "heatmap", z: camera.coverage,
        x: Array.from({ length: columns }, (_, i) => (i + 0.5) * w / columns - 0.5),
        y: Array.from({ length: rows }, (_, i) => (i + 0.5) * h / rows - 0.5),
        colorscale: [[0, "#ffffff"], [1e-6, "#dbeaf5"], [0.25, "#9cc5e3"], [1, "#08519c"]], zmin: 0, zmax: top,
        xgap: 1, ygap: 1, colorbar: { title: { text: "points", side: "right" }, thickness: 12, len: 0.95 },
        hovertemplate: "%{z} points<extra></extra>" }],
        { xaxis: frame("x"), yaxis: frame("y"), margin, plot_bgcolor: "#f2f4f6" }, bare);
      if (!residuals) return;
      const mine = residuals.camera.flatMap((c, i) => c === v ? [i] : []);
      const used = mine.filter((i) => residuals.used[i]);
      const rejected = mine.filter((i) => !residuals.used[i]);
      const lengths = used.map((i) => Math.hypot(...residuals.residual_px[i])).sort((a, b) => a - b);
      const large = lengths.length ? lengths[Math.floor(0.95 * (lengths.length - 1))] : 1;
      // A round factor that makes the 95th percentile a thirtieth of the picture's width.
      const wish = w / 30 / Math.max(large, 1e-6);
      const power = 10 ** Math.floor(Math.log10(wish));
      const factor = [5, 2, 1].map((m) => m * power).find((f) => f <= wish) || power;
      const xs = [], ys = [];
      for (const i of used) {
        const [x, y] = residuals.px[i], [dx, dy] = residuals.residual_px[i];
        xs.push(x, x + factor * dx, null); ys.push(y, y + factor * dy, null);
      }
      const second = make("div", { class: "card" },
        make("h3", {}, `${camera.name}: residuals, ${factor} times enlarged`,
          make("span", { class: "soft", style: "font-weight:400" },
            rejected.length ? `; red: ${rejected.length} rejected` : "")));
      grid.append(second);
      const traces = [
        { type: "scatter", mode: "lines", x: xs, y: ys, line: { color: colour(v), width: 1 }, hoverinfo: "skip",
          showlegend: false },
        { type: "scatter", mode: "markers", x: used.map((i) => residuals.px[i][0]), y: used.map((i) => residuals.px[i][1]),
          marker: { size: 3, color: colour(v) }, name: "used",
          text: used.map((i) => `moment ${residuals.frame[i]}, point ${residuals.point[i]}<br>`
            + `${Math.hypot(...residuals.residual_px[i]).toFixed(2)} px`), hovertemplate: "%{text}<extra></extra>",
          showlegend: rejected.length > 0 }];
      if (rejected.length) traces.push({ type: "scatter", mode: "markers", name: "rejected",
        x: rejected.map((i) => residuals.px[i][0]), y: rejected.map((i) => residuals.px[i][1]),
        marker: { size: 8, symbol: "x-thin-open", color: "#b3261e", line: { width: 1.5 } },
        text: rejected.map((i) => `moment ${residuals.frame[i]}, point ${residuals.point[i]}<br>`
          + `${Math.hypot(...residuals.residual_px[i]).toFixed(1)} px, rejected`), hovertemplate: "%{text}<extra></extra>" });
      plot(second, tall, traces, { xaxis: frame("x"), yaxis: frame("y"), margin, showlegend: false }, bare);
    });
    if (data.sampled) add(make("p", { class: "soft" }, data.sampled));
  }

  function histogram() {
    const residuals = outcome.residuals;
    if (!residuals || !cameras.length) return;
    section("How large the residuals are", "Share of each camera's used points, by length of their residual.");
    const all = residuals.camera.flatMap((_, i) => residuals.used[i] ? [Math.hypot(...residuals.residual_px[i])] : []);
    if (!all.length) return;
    all.sort((a, b) => a - b);
    const end = all[Math.floor(0.995 * (all.length - 1))] || 1;
    const traces = cameras.map((camera, v) => {
      const mine = residuals.camera.flatMap((c, i) => c === v && residuals.used[i]
        ? [Math.hypot(...residuals.residual_px[i])] : []).sort((a, b) => a - b);
      const shares = mine.map((_, i) => 100 * (i + 1) / mine.length);
      return { type: "scatter", mode: "lines", x: mine, y: shares, name: camera.name,
               line: { color: colour(v), width: 2, dash: dash(v) },
               hovertemplate: `${camera.name}: %{y:.0f} % are below %{x:.2f} px<extra></extra>` };
    });
    plot(page, 340, traces, { xaxis: axis("residual, px", { range: [0, end] }),
      yaxis: axis("share of points below, %", { range: [0, 101] }), margin: { l: 62, r: 16, t: 30, b: 48 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" } });
  }

  function frames() {
    if (!outcome.frames || !outcome.frames.length || !cameras.length) return;
    section("Residuals at each moment", "rms of each camera's used points. One moment far above its neighbours is a blurred "
      + "board or frames that do not belong together; a camera that rises and stays up was moved.");
    const x = outcome.frames.map((frame) => frame.frame);
    const traces = names.map((name, v) => ({ type: "scatter", mode: "markers+lines", x,
      y: outcome.frames.map((frame) => frame.camera_rms_px[v]), name, connectgaps: false,
      line: { color: colour(v), width: 1, dash: dash(v) }, marker: { size: 6, color: colour(v) },
      hovertemplate: `${name}, moment %{x}: %{y:.3f} px<extra></extra>` }));
    plot(page, 380, traces, { xaxis: axis(data.moment_words), yaxis: axis("rms, px", { rangemode: "tozero" }),
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, margin: { l: 62, r: 16, t: 30, b: 48 } });
  }

  function shared() {
    if (!outcome.shared || names.length < 2) return;
    section("Moments that two cameras saw together", "Cameras are tied to each other only by these. The diagonal counts a "
      + "camera's own views.");
    if (outcome.missing && outcome.missing.length)
      add(make("ul", { class: "reasons" }, ...outcome.missing.map((words) => make("li", {}, words))));
    const side = Math.min(760, 150 + 70 * names.length);
    const holder = make("div", { style: `max-width:${side + 60}px` });
    add(holder);
    plot(holder, Math.min(640, 130 + 52 * names.length), [{ type: "heatmap", x: names, y: names, z: outcome.shared,
      text: outcome.shared.map((row) => row.map(String)), texttemplate: "%{text}", textfont: { size: 13 },
      colorscale: [[0, "#ffffff"], [1e-6, "#d3e4f2"], [1, "#5b9bd0"]], zmin: 0, zmax: Math.max(1, ...outcome.shared.flat()),
      showscale: false, xgap: 2, ygap: 2,
      hovertemplate: "%{x} and %{y}: %{z} moments<extra></extra>" }],
      { xaxis: { side: "top", type: "category", fixedrange: true }, margin: { l: 90, r: 12, t: 34, b: 10 },
        yaxis: { autorange: "reversed", type: "category", fixedrange: true } }, { displayModeBar: false });
  }

  function offsets() {
    if (!outcome.offsets || !outcome.offsets.length) return;
    section("Time between cameras", "From the board's motion: how much later a camera shows what the others showed.");
    add(table(["camera", "offset", "±"], outcome.offsets.map((one) => [one.camera,
      one.unit === "s" ? `${number(1e3 * one.frames, 1)} ms` : `${number(one.frames, 2)} frames`,
      one.unit === "s" ? `${number(1e3 * one.deviation, 1)} ms` : `${number(one.deviation, 2)} frames`])));
  }

  function made() {
    section("How it was made");
    const items = Object.entries(data.made).flatMap(([key, value]) => [make("dt", {}, key),
      make("dd", key === "command" ? { class: "code" } : {}, value)]);
    add(make("dl", {}, ...items));
    if (data.notes.length) add(make("ul", { class: "reasons" }, ...data.notes.map((note) => make("li", {}, note))));
  }

  function extra(part) {
    section(part.title, part.text);
    if (part.table) add(table(part.table.head, part.table.rows.map((row) => row.map((cell) => cell))));
    if (part.plot) plot(page, part.plot.height || 360,
      part.plot.traces.map((trace, v) => ({ line: { color: colour(v), width: 2 }, marker: { color: colour(v) }, ...trace })),
      { xaxis: axis(part.plot.x, part.plot.xaxis || {}), yaxis: axis(part.plot.y, part.plot.yaxis || {}),
        legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, margin: { l: 62, r: 16, t: 30, b: 48 },
        ...(part.plot.layout || {}) });
  }

  page.replaceChildren();
  for (const draw of [verdict, figures, tape]) draw();
  data.parts.forEach(extra);
  for (const draw of [scene, cameraTable, pictures, histogram, frames, shared, offsets, made]) draw();
  document.body.dataset.ready = "yes";
})();
