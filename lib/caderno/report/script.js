
// All that a page does by itself. Without it the page is complete: cells open one by one, tables keep their order.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const memory = {
    // A page from disk may have no storage; then it forgets.
    get(name) { try { return localStorage.getItem("caderno " + name); } catch { return null; } },
    set(name, value) { try { localStorage.setItem("caderno " + name, value); } catch { /* it forgets */ } },
  };

  // Code: one switch for all cells, remembered for all pages; one for each, remembered for this page.
  const bar = document.querySelector("[data-code-switch]");
  const cells = all("details.code");
  if (bar && cells.length) {
    const box = bar.querySelector("input");
    const own = "cells " + location.pathname;
    const name = (cell) => cell.parentElement.id;
    let chosen = {};
    try { chosen = JSON.parse(memory.get(own)) || {}; } catch { /* not ours */ }
    const failed = new Set(cells.filter((cell) => cell.open).map(name));
    const show = () => {
      document.body.classList.toggle("with-code", box.checked);
      for (const cell of cells) cell.open = chosen[name(cell)] ?? (box.checked || failed.has(name(cell)));
    };
    bar.hidden = false;
    box.checked = memory.get("code") === "shown" || document.body.classList.contains("with-code");
    show();
    box.addEventListener("change", () => {
      memory.set("code", box.checked ? "shown" : "folded");
      chosen = {};
      memory.set(own, "{}");
      show();
    });
    for (const cell of cells) {
      cell.querySelector("summary").addEventListener("click", () => {
        chosen[name(cell)] = !cell.open; // it is about to change
        memory.set(own, JSON.stringify(chosen));
      });
    }
    // Paper has all of the code or none of it.
    addEventListener("beforeprint", () => { for (const cell of cells) cell.open = box.checked; });
    addEventListener("afterprint", show);
  }

  // Paper cannot be opened: all metrics are on it.
  const folded = all("#metrics details:not([open])");
  addEventListener("beforeprint", () => { for (const fold of folded) fold.open = true; });
  addEventListener("afterprint", () => { for (const fold of folded) fold.open = false; });

  // A link to something folded opens what it is in.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // The table of contents says where the reader is.
  const links = all(".contents a");
  const places = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  const contents = document.querySelector(".contents details");
  if (contents && !matchMedia("(min-width: 75rem)").matches) contents.open = false;
  if (links.length) {
    let waiting = false;
    const follow = () => {
      waiting = false;
      const line = innerHeight / 4;
      let here = 0;
      places.forEach((place, i) => { if (place && place.getBoundingClientRect().top <= line) here = i; });
      if (innerHeight + scrollY >= document.documentElement.scrollHeight - 2) here = links.length - 1;
      links.forEach((link, i) => {
        if (i !== here) link.removeAttribute("aria-current");
        else if (!link.hasAttribute("aria-current")) {
          link.setAttribute("aria-current", "true");
          if (contents.open) {
            const nav = contents.parentElement;
            const top = link.offsetTop - nav.clientHeight / 2;
            if (link.offsetTop < nav.scrollTop || link.offsetTop > nav.scrollTop + nav.clientHeight - 40) nav.scrollTop = top;
          }
        }
      });
    };
    addEventListener("scroll", () => { if (!waiting) { waiting = true; requestAnimationFrame(follow); } }, { passive: true });
    follow();
  }

  // Tables that sort by the column that is clicked: numbers as numbers, the largest first.
  const number = (cell) => {
    const text = (cell.dataset.value ?? cell.textContent).trim().replaceAll(",", "").replaceAll("−", "-").replace("∞", "Infinity");
    return text === "" || isNaN(text) ? null : Number(text);
  };
  for (const table of all("table[data-sortable]")) {
    const body = table.tBodies[0];
    if (!body || body.rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const rows = [...body.rows];
        const numeric = rows.some((row) => number(row.cells[column]) !== null);
        const before = head.getAttribute("aria-sort");
        const up = before ? before === "descending" : !numeric;
        const order = (a, b) => {
          const [x, y] = [a.cells[column], b.cells[column]];
          if (!numeric) return (up ? 1 : -1) * x.textContent.trim().localeCompare(y.textContent.trim(), "en", { numeric: true });
          const [n, m] = [number(x), number(y)];
          if (n === null || m === null) return (n === null) - (m === null); // what is missing stands last
          return (up ? 1 : -1) * (n - m);
        };
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        body.append(...rows.sort(order));
      });
    });
  }

  // Search: rows that hold all of the words stay.
  const search = document.querySelector("[data-search]");
  if (search) {
    const rows = all(search.dataset.search).map((row) => [row, row.textContent.toLowerCase()]);
    const field = search.querySelector("input");
    const said = search.querySelector("[role=status]");
    search.hidden = false;
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let found = 0;
      for (const [row, text] of rows) {
        row.hidden = !words.every((word) => text.includes(word));
        found += !row.hidden;
      }
      said.textContent = words.length ? `${found} of ${rows.length}` : "";
    });
  }

  // Interactive outputs run in frames that are shut in: no origin, no network. frame.js is what stands in them.
  const inFrame = document.getElementById("in-frame");
  if (inFrame) {
    const unpacked = new Map();
    const unpack = (name) => {
      if (!unpacked.has(name)) {
        const packed = atob(document.querySelector(`[data-library="${name}"]`).textContent);
        const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
        const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
        unpacked.set(name, new Response(stream).text());
      }
      return unpacked.get(name);
    };
    const policy = document.querySelector("meta[http-equiv=Content-Security-Policy]").outerHTML;
    const style = "html{color-scheme:light;background:#fff}body{margin:0;font:15px system-ui,sans-serif}#figure{width:100%}";
    const open = async (figure) => {
      const { libraries, ...rest } = JSON.parse(figure.querySelector("script").textContent);
      const frame = document.createElement("iframe");
      frame.setAttribute("sandbox", "allow-scripts");
      frame.title = figure.querySelector("figcaption")?.textContent || "Interactive output";
      frame.srcdoc = `<!doctype html><html lang="en"><head><meta charset="utf-8">${policy}<style>${style}</style></head>` +
        `<body><main id="root"></main><script>${inFrame.textContent}</scr` + "ipt></body></html>";
      const texts = await Promise.all(libraries.map(unpack));
      addEventListener("message", (event) => {
        if (event.source !== frame.contentWindow) return;
        if (event.data.ready === true) frame.contentWindow.postMessage({ libraries: texts, ...rest }, "*");
        const height = Number(event.data.height);
        if (height > 0) frame.style.height = `${Math.min(Math.max(height, 40), 1600)}px`;
      });
      figure.querySelector(".still").replaceChildren(frame);
    };
    const near = new IntersectionObserver((found) => {
      for (const { target, isIntersecting } of found) if (isIntersecting) { near.unobserve(target); open(target); }
    }, { rootMargin: "1500px" });
    for (const figure of all("figure.live")) near.observe(figure);
  }
})();
