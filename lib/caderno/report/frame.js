
// Stands in the sandboxed frame of an interactive output, and runs nothing where it is not shut in: a page that
// could be tricked into holding this script would still not be tricked into running what an output brought.
(() => {
  "use strict";
  try { if (window === parent || parent.document) return; } catch { /* shut in, as it should be */ }
  for (const way of ["RTCPeerConnection", "webkitRTCPeerConnection"]) delete window[way]; // no policy covers it
  const run = (text) => new Promise((done) => {
    const script = document.createElement("script");
    script.src = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    script.onload = script.onerror = done;
    document.body.append(script);
  });
  addEventListener("message", async (event) => {
    if (event.source !== parent) return;
    const { libraries, before, html, after } = event.data;
    for (const text of libraries) await run(text);
    if (before) await run(before);
    const root = document.getElementById("root");
    root.innerHTML = html;
    window.element = root; // what Jupyter hands to scripts
    for (const script of root.querySelectorAll("script")) {
      if (/^$|javascript|module|ecmascript/.test(script.type) && !script.src) await run(script.textContent);
    }
    if (after) await run(after);
    const tell = () => parent.postMessage({ height: Math.ceil(root.getBoundingClientRect().height) }, "*");
    new ResizeObserver(tell).observe(root);
    tell();
  }, { once: true });
  parent.postMessage({ ready: true }, "*");
})();
