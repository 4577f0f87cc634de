"use strict";
// Plots, trees, keys and renewal of the monitor's pages. Everything works without it, except the plots.
(() => {
  const RENEW_MS = 10000;
  // Steps of the time axis (s), what is written at each, and what besides where a day begins: hours go from 0 to 24.
  const TIMES = [
    [86400, "{DD} {MMM}", null, null, null, null, null, null, 1], [3600, "{HH}:{mm}", "\n{DD} {MMM}", null, "\n{DD} {MMM}", null, null, null, 1],
    [60, "{HH}:{mm}", "\n{DD} {MMM}", null, "\n{DD} {MMM}", null, null, null, 1], [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
  ];
  const SHORT = TIMES.map((one) => [one[0], one[1], null, null, null, null, null, null, 1]);  // for one line
  const root = document.documentElement;
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const kept = {
    get(name) { try { return sessionStorage.getItem(name); } catch (refused) { return null; } },
    set(name, value) { try { sessionStorage.setItem(name, value); } catch (refused) { /* nothing is kept */ } },
  };

  // --- plots -------------------------------------------------------------------------------------------------------
  const plots = new Map();

  function draw(canvas) {
    const told = JSON.parse(canvas.dataset.plot);
    const counted = ["jobs", "files"].includes(told.unit);
    const small = canvas.closest(".small") !== null;
    const axis = (more) => ({ stroke: colour("ink-2"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false },
      font: "11px system-ui", ...more });
    const series = told.lines.map((one) => ({
      label: one.title, value: (u, shown, place, at) => (at === null ? "" : (one.values[at] ?? 0).toLocaleString("en", { maximumFractionDigits: 2 })), stroke: colour(`s-${one.look}`), width: one.bars ? 0 : 2, points: { show: false },
      fill: one.bars ? colour(`s-${one.look}`) : `color-mix(in srgb, ${colour(`s-${one.look}`)} 14%, transparent)`,
      paths: one.bars ? uPlot.paths.bars({ size: [0.8, 24], align: -1 }) : uPlot.paths.stepped({ align: -1 }),
    }));
    // Bars stand on each other, the last lowest: each is drawn as high as it and those after it are together.
    const above = (place) => told.lines.slice(place).filter((one) => one.bars);
    const heights = told.lines.map((one, place) => (one.bars
      ? one.values.map((value, at) => above(place).reduce((sum, low) => sum + (low.values[at] ?? 0), 0)) : one.values));
    const whole = (u, values) => values.map((v) => (Number.isInteger(v) || !counted ? v.toLocaleString("en", { maximumSignificantDigits: 6 }) : ""));
    plots.get(canvas)?.destroy();
    canvas.replaceChildren();
    plots.set(canvas, new uPlot({
      width: Math.max(canvas.clientWidth, 120), height: small ? 90 : 190, legend: { show: !small },
      tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1e3), "Etc/UTC"),
      cursor: { y: false, points: { size: 6 } }, padding: [8, 8, 0, 0],
      scales: { y: { range: (u, low, high) => [0, (high > 0 ? Math.max(high, counted ? 1 : 0) : 1) * 1.08] } },
      axes: [axis({ space: small ? 90 : 70, size: small ? 24 : 34, values: small ? SHORT : TIMES }), axis({ size: 46, space: small ? 36 : 32, values: whole })],
      series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm} UTC" }, ...series],
    }, [told.at, ...heights], canvas));
  }
  const drawAll = () => document.querySelectorAll("[data-plot]").forEach(draw);

  // --- trees: clouds open to sites, sites to queues --------------------------------------------------------------------
  const nameOf = (row) => (row.dataset.level === "1" ? `${row.dataset.of}/${row.dataset.site}` : row.dataset.of);
  // Where nobody opened or closed anything yet, the only cloud is open.
  function openNames() {
    const clouds = document.querySelectorAll("table.tree tr[data-level='0']");
    return new Set(JSON.parse(kept.get("panda-open") ?? JSON.stringify(clouds.length === 1 ? [nameOf(clouds[0])] : [])));
  }

  function arrange(table) {
    const open = openNames();
    let cloudOpen = false, siteOpen = false;
    for (const row of table.tBodies[0].rows) {
      const level = Number(row.dataset.level);
      const isOpen = open.has(nameOf(row));
      if (level === 0) { cloudOpen = isOpen; siteOpen = false; }
      if (level === 1) { row.hidden = !cloudOpen; siteOpen = cloudOpen && isOpen; }
      if (level === 2) row.hidden = !siteOpen;
      const twist = row.querySelector(".twist");
      if (twist) twist.setAttribute("aria-expanded", String(isOpen));
    }
  }
  const arrangeAll = () => document.querySelectorAll("table.tree").forEach(arrange);

  document.addEventListener("click", (event) => {
    const twist = event.target.closest(".twist");
    const all = event.target.closest("[data-all]");
    if (!twist && !all) return;
    const open = openNames();
    const toggle = (name, wanted) => (wanted ? open.add(name) : open.delete(name));
    if (twist) {
      const name = nameOf(twist.closest("tr"));
      toggle(name, !open.has(name));
    } else {
      const rows = [...all.closest("section").querySelectorAll("tr[data-level='0']")];
      const wanted = rows.some((row) => !open.has(nameOf(row)));
      rows.forEach((row) => toggle(nameOf(row), wanted));
    }
    kept.set("panda-open", JSON.stringify([...open]));
    arrangeAll();
  });

  // --- light and dark, live --------------------------------------------------------------------------------------------
  function turnTheme() {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("panda-theme", root.dataset.theme); } catch (refused) { /* for this page only */ }
    drawAll();
  }

  let timer = 0;
  const renew = () => htmx.trigger("#page", "renew");
  function setLive(on) {
    kept.set("panda-live", on ? "1" : "");
    document.getElementById("live").setAttribute("aria-pressed", String(on));
    clearInterval(timer);
    if (on) timer = setInterval(() => { if (!document.hidden && !document.querySelector("details.filter[open]")) renew(); }, RENEW_MS);
  }
  const turnLive = () => setLive(!kept.get("panda-live"));

  // --- keys --------------------------------------------------------------------------------------------------------
  let after = "";
  function goRow(step) {
    const rows = [...document.querySelectorAll("#page tbody tr")].filter((row) => !row.hidden && row.querySelector("a"));
    if (!rows.length) return;
    const now = rows.findIndex((row) => row.contains(document.activeElement));
    const next = rows[Math.min(Math.max(now + step, 0), rows.length - 1)];
    next.querySelector("a").focus();
    next.scrollIntoView({ block: "nearest" });
  }
  const does = {
    "/": () => document.querySelector(".search input").focus(),
    "?": () => document.getElementById("keys").showModal(),
    d: turnTheme, l: turnLive, r: renew, j: () => goRow(1), k: () => goRow(-1),
    f: () => { const box = document.querySelector("details.filter"); if (box) { box.open = true; box.querySelector("input").focus(); } },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (after === "g") {
      after = "";
      const link = [...document.querySelectorAll("nav [data-key]")].find((one) => one.dataset.key === event.key);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (event.key === "g") { after = "g"; return; }
    if (does[event.key]) { event.preventDefault(); does[event.key](); }
  });

  // --- beginning ---------------------------------------------------------------------------------------------------
  function settle() { drawAll(); arrangeAll(); }
  document.getElementById("theme").addEventListener("click", turnTheme);
  document.getElementById("live").addEventListener("click", turnLive);
  document.addEventListener("htmx:afterSettle", () => { plots.clear(); settle(); });
  let resized = 0;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(drawAll, 100); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  setLive(Boolean(kept.get("panda-live")));
  settle();
})();
