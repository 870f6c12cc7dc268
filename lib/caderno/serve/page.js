// All that a page of the service does by itself. Without it the form is complete.
(() => {
  "use strict";
  const groups = [...document.querySelectorAll("details.group")];

  // A browser can't point at a field that is folded away: what it complains about is opened first. Without this, the
  // service complains.
  for (const form of document.forms) form.noValidate = false;
  document.addEventListener("invalid", (event) => {
    const group = event.target.closest("details");
    if (group) group.open = true;
  }, true);

  // A link to a field opens its group.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.closest("details");
    if (folded) folded.open = true;
    if (!target) return;
    const field = target.matches("input, select, textarea");
    target.scrollIntoView({ block: field ? "center" : "start" });
    if (field) target.focus({ preventScroll: true });
  };
  addEventListener("hashchange", reveal);
  reveal();

  // Find a field: those whose name holds all of the words stay, and their groups open.
  const filter = document.querySelector("[data-filter]");
  if (filter) {
    const field = filter.querySelector("input");
    const said = filter.querySelector("[role=status]");
    const before = new Map(groups.map((group) => [group, group.open]));
    filter.hidden = false;
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let all = 0, found = 0;
      for (const group of groups) {
        let here = 0;
        for (const one of group.querySelectorAll(".field")) {
          const name = one.querySelector("label").textContent.toLowerCase();
          one.hidden = !words.every((word) => name.includes(word));
          here += !one.hidden;
          all += 1;
        }
        group.hidden = here === 0;
        group.open = words.length ? here > 0 : before.get(group);
        found += here;
      }
      said.textContent = words.length ? `${found} of ${all}` : "";
    });
    field.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
  }
})();
