"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);

  // Copying: the clipboard is not always open to a page from a file, so there is a second way.
  const select = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };
  const copy = async (node) => {
    try {
      await navigator.clipboard.writeText(node.textContent);
      return true;
    } catch {
      select(node);
      return document.execCommand("copy");
    }
  };
  for (const button of all(".copy")) {
    button.addEventListener("click", async () => {
      const done = await copy(button.previousElementSibling);
      button.textContent = done ? "Copied" : "Selected";
      byId("said").textContent = done ? "Copied" : "Selected: copy it with the keyboard";
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
  }

  // The last words of a log are those that matter.
  const toEnds = (root) => {
    // All are measured before any is moved, or the page would be laid out for each.
    const logs = all("details[open] > pre.ends", root).map((node) => [node, node.scrollHeight]);
    for (const [node, height] of logs) node.scrollTop = height;
  };
  for (const evidence of all(".evidence[open]")) toEnds(evidence);
  addEventListener("toggle", (event) => toEnds(event.target.parentElement), true);

  const filters = byId("filters");
  if (!filters) return;
  filters.hidden = false;
  const search = byId("search");
  const buttons = all("[data-filter]", filters);
  const groups = byId("group"); // is left out where there is only one
  const rows = all("details.case").map((node) => ({
    node,
    id: node.dataset.id,
    core: node.dataset.core,
    group: node.closest(".group").dataset.group,
    text: [node.querySelector("summary"), ...all(".problems, .deviant", node)]
      .map((part) => part.textContent).join(" ").toLowerCase(),
    cells: all(".cell[data-outcome]", node).map((cell) => ({
      cell,
      outcome: cell.dataset.outcome,
      workers: cell.dataset.workers.trim().split(" "),
    })),
  }));
  const total = new Set(rows.map((row) => row.id)).size;
  const SETS = ["outcome", "worker", "core"];
  const state = { outcome: new Set(), worker: new Set(), core: new Set(), group: "", q: "", case: "" };

  const read = () => {
    const hash = new URLSearchParams(location.hash.slice(1));
    for (const key of SETS) {
      state[key] = new Set(hash.getAll(key).filter((value) =>
        buttons.some((button) => button.dataset.filter === key && button.dataset.value === value)));
    }
    const group = hash.get("group") ?? "";
    state.group = groups && [...groups.options].some((option) => option.value === group) ? group : "";
    state.q = hash.get("q") ?? "";
    state.case = hash.get("case") ?? "";
    search.value = state.q;
    if (groups) groups.value = state.group;
  };

  const write = () => {
    const hash = new URLSearchParams();
    for (const key of SETS) for (const value of state[key]) hash.append(key, value);
    if (state.group) hash.set("group", state.group);
    if (state.q) hash.set("q", state.q);
    if (state.case) hash.set("case", state.case);
    const address = location.href.split("#")[0] + (hash.size === 0 ? "" : `#${hash}`);
    try { history.replaceState(null, "", address); } catch { /* a page in a frame may not */ }
  };

  const apply = () => {
    const indexes = new Set(buttons
      .filter((button) => button.dataset.filter === "worker" && state.worker.has(button.dataset.value))
      .map((button) => button.dataset.index));
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = new Set(); // by their ids: a case is one case on however many cores
    for (const { node, id, core, group, text, cells } of rows) {
      let hits = 0;
      for (const { cell, outcome, workers } of cells) {
        const hit = (state.outcome.size === 0 || state.outcome.has(outcome))
          && (indexes.size === 0 || workers.some((worker) => indexes.has(worker)));
        cell.classList.toggle("dim", !hit);
        hits += hit;
      }
      const here = (state.core.size === 0 || state.core.has(core))
        && (!state.group || state.group === group);
      node.hidden = !here || !hits || !words.every((word) => text.includes(word));
      if (!node.hidden) shown.add(id);
    }
    for (const group of all(".group")) group.hidden = !group.querySelector(".case:not([hidden])");
    for (const button of buttons) {
      button.setAttribute("aria-pressed", state[button.dataset.filter].has(button.dataset.value));
    }
    byId("found").textContent = shown.size === total ? `${total} cases` : `${shown.size} of ${total} cases`;
    byId("reset").hidden = !SETS.some((key) => state[key].size) && !state.group && !state.q;
  };

  const clear = () => {
    for (const key of SETS) state[key].clear();
    state.group = state.q = search.value = "";
    if (groups) groups.value = "";
  };

  const reveal = () => {
    const node = state.case && byId(`case=${state.case}`);
    if (!node) return;
    // A link to a case is stronger than a filter that hides it.
    if (node.hidden) {
      clear();
      apply();
    }
    node.open = true;
    node.scrollIntoView({ block: "start" });
    node.querySelector("summary").focus({ preventScroll: true });
  };

  const changed = () => { apply(); write(); };
  groups?.addEventListener("change", () => { state.group = groups.value; changed(); });
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const values = state[button.dataset.filter];
      if (!values.delete(button.dataset.value)) values.add(button.dataset.value);
      changed();
    });
  }
  search.addEventListener("input", () => { state.q = search.value.trim(); changed(); });
  byId("reset").addEventListener("click", () => {
    clear();
    changed();
    search.focus();
  });
  for (const { node } of rows) {
    node.querySelector("summary").addEventListener("click", () => {
      const name = node.id.slice("case=".length);
      if (!node.open) state.case = name;
      else if (state.case === name) state.case = "";
      write();
    });
  }
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, select, pre")) return;
    event.preventDefault();
    search.focus();
  });
  const arrive = () => { read(); apply(); reveal(); };
  // Following a second link to the case that the address already names changes no hash.
  for (const link of all('a[href^="#case="]')) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      state.case = decodeURIComponent(link.getAttribute("href").slice("#case=".length));
      write();
      reveal();
    });
  }
  // A plain "#ran" is a place on the page and says nothing of filters.
  addEventListener("hashchange", () => { if (!location.hash || location.hash.includes("=")) arrive(); });
  arrive();
})();
