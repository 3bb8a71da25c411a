// Trees of text that open and close: keys, mouse and touch, the trees of several models side by side.
//
// Each .branching holds its data as JSON; branch_pages.py says what stands in it and has rounded every number. What is shown
// is put in as text, never as markup, and nothing is fetched. Without this script the heaviest branches stand as lists.
(() => {
  "use strict";

  const FIRST_LINES = 12; // of each tree, before anybody opens or closes anything
  const GOES_ON = "(as it goes on)"; // a branch without tokens of its own
  const HINT =
    "Tap a branch, or use the arrow keys: ↑ ↓ to the next line, → opens, ← closes, * opens all beside it. " +
    "A bar is the probability of all the text up to there.";

  function make(tag, attributes, ...inside) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  }

  // A branch as branch_pages.py writes it, with what lies above it.
  function read([text, percents, branches = [], told = "", texts = []], above) {
    const shown = text || GOES_ON;
    const branch = { text: shown, percents, told, texts, above, path: (above?.path ?? "") + text };
    branch.branches = branches.map((one) => read(one, branch));
    return branch;
  }

  class Branching {
    constructor(place, number) {
      this.place = place;
      this.data = JSON.parse(place.querySelector('script[type="application/json"]').textContent);
      this.trees = this.data.trees.map((tree) => ({ ...tree, roots: tree.branches.map((one) => read(one, null)) }));
      const all = this.trees.flatMap((tree) => tree.roots.map((one) => one.percents[0]));
      this.widest = Math.max(...all, 0); // percent at which a bar is full
      this.told = make("div", { class: "told" });
      this.status = make("p", { role: "status" });
      this.told.append(this.status);
      this.told.hidden = true;
      const room = place.querySelector(".trees");
      this.arms = this.trees.map((tree, at) => this.arm(tree, at));
      room.replaceChildren(...this.arms);
      room.before(make("p", { class: "hint" }, HINT));
      if (this.trees.length > 1) room.before(this.choice(number));
      room.after(this.told);
      this.trees.forEach((tree) => this.open(tree));
      place.classList.add("alive");
    }

    // Which of the trees are shown.
    choice(number) {
      const options = [this.trees.length === 2 ? "both" : "all", ...this.trees.map((tree) => tree.arm)].map((label, at) => {
        const radio = make("input", { type: "radio", name: `shown-${number}`, value: label });
        radio.checked = at === 0;
        radio.addEventListener("change", () => {
          this.arms.forEach((arm, place) => (arm.hidden = at > 0 && place !== at - 1));
        });
        return make("label", {}, radio, ` ${label}`);
      });
      return make("div", { class: "choice", role: "radiogroup", "aria-label": "Trees" }, ...options);
    }

    arm(tree, at) {
      tree.list = make("ul", { role: "tree", "aria-label": tree.heading });
      tree.list.append(...tree.roots.map((branch) => this.item(branch, tree, 1)));
      if (tree.roots.length) tree.roots[0].item.tabIndex = 0;
      tree.list.addEventListener("keydown", (event) => this.press(tree, event));
      const heading = make("h4", {}, make("span", { class: `key arm-${tree.colour}` }), ` ${tree.heading}`);
      return make("div", { class: "arm", "data-arm": String(at) }, heading, tree.list);
    }

    item(branch, tree, level) {
      const toggle = make("span", { class: "toggle" });
      const row = make(
        "div",
        { class: "line" },
        toggle,
        this.bars(branch, tree),
        make("span", { class: "share" }, `${branch.percents[0]} %`),
        make("span", { class: "words" }, branch.text),
      );
      branch.row = row;
      branch.item = make("li", { role: "treeitem", "aria-level": String(level), "aria-selected": "false" }, row);
      branch.item.setAttribute("aria-label", `${branch.percents[0]} percent: ${branch.text}`);
      row.addEventListener("click", (event) => {
        const again = this.chosen === branch || event.target === toggle;
        if (branch.branches.length) this.expand(branch, again ? !this.isOpen(branch) : true);
        this.choose(tree, branch, true);
      });
      if (branch.branches.length) {
        const below = branch.branches.map((one) => this.item(one, tree, level + 1));
        branch.item.append(make("ul", { role: "group" }, ...below));
        this.expand(branch, false);
      }
      return branch.item;
    }

    // A bar a model, the tree's own first; where the other does not list the branch there is none.
    bars(branch, tree) {
      const others = this.trees.filter((one) => one !== tree);
      const bars = branch.percents.map((percent, at) => {
        const bar = make("span", { class: `bar arm-${(at === 0 ? tree : others[at - 1]).colour}` });
        bar.style.width = `${Math.min(100, (100 * (percent ?? 0)) / this.widest)}%`;
        if (percent === null) bar.classList.add("unknown");
        return bar;
      });
      return make("span", { class: "bars", "aria-hidden": "true" }, ...bars);
    }

    // ---- what is open

    isOpen(branch) {
      return branch.item.getAttribute("aria-expanded") === "true";
    }

    expand(branch, isOpen) {
      branch.item.setAttribute("aria-expanded", String(isOpen));
    }

    // The heaviest branches first, until so many lines can be seen.
    open(tree) {
      let closed = tree.roots.filter((one) => one.branches.length);
      let lines = tree.roots.length;
      while (closed.length && lines < FIRST_LINES) {
        closed.sort((a, b) => a.percents[0] - b.percents[0]);
        const next = closed.pop();
        this.expand(next, true);
        lines += next.branches.length;
        closed.push(...next.branches.filter((one) => one.branches.length));
      }
    }

    lines(branches) {
      return branches.flatMap((one) => [one, ...(this.isOpen(one) ? this.lines(one.branches) : [])]);
    }

    // ---- where one is

    press(tree, event) {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const lines = this.lines(tree.roots);
      const at = lines.findIndex((one) => one.item === event.target.closest("[role=treeitem]"));
      if (at < 0) return;
      const branch = lines[at];
      const is = { open: this.isOpen(branch), parent: branch.branches.length > 0 };
      const keys = {
        ArrowDown: () => lines[at + 1],
        ArrowUp: () => lines[at - 1],
        Home: () => lines[0],
        End: () => lines.at(-1),
        ArrowRight: () => (is.open ? branch.branches[0] : this.turn(branch, true)),
        ArrowLeft: () => (is.open ? this.turn(branch, false) : branch.above),
        Enter: () => this.turn(branch, !is.open),
        " ": () => this.turn(branch, !is.open),
        "*": () => {
          for (const one of branch.above?.branches ?? tree.roots) this.turn(one, true);
          return branch;
        },
      };
      if (!Object.hasOwn(keys, event.key)) return;
      event.preventDefault();
      const to = keys[event.key]();
      if (to) this.choose(tree, to, true);
    }

    turn(branch, isOpen) {
      if (branch.branches.length) this.expand(branch, isOpen);
      return branch;
    }

    choose(tree, branch, takesFocus) {
      if (this.chosen) {
        this.chosen.item.setAttribute("aria-selected", "false");
        this.chosen.row.classList.remove("chosen");
      }
      for (const one of this.place.querySelectorAll(".twin")) one.classList.remove("twin");
      for (const one of tree.list.querySelectorAll("[tabindex]")) one.removeAttribute("tabindex");
      this.chosen = branch;
      branch.item.tabIndex = 0;
      branch.item.setAttribute("aria-selected", "true");
      branch.row.classList.add("chosen");
      for (const other of this.trees) if (other !== tree) this.twin(other.roots, branch.path);
      this.tell(tree, branch);
      this.place.style.setProperty("--covered", `${this.told.offsetHeight}px`);
      if (takesFocus) branch.item.focus({ preventScroll: true });
      branch.row.scrollIntoView({ block: "nearest" });
    }

    // The same text in another tree.
    twin(branches, path) {
      for (const one of branches) {
        if (one.path === path) one.row.classList.add("twin");
        else if (path.startsWith(one.path)) this.twin(one.branches, path);
      }
    }

    tell(tree, branch) {
      const others = this.trees.filter((one) => one !== tree);
      const [own, ...besides] = branch.percents;
      const each = [`${tree.arm} ${own} %`];
      besides.forEach((percent, at) => {
        const arm = others[at].arm;
        each.push(percent === null ? `not listed of ${arm}` : `${arm} ${percent} %`);
      });
      const sentences = [];
      if (branch.above) sentences.push(`It is ${this.part(own, branch.above.percents[0])} of the branch above it.`);
      if (branch.branches.length) {
        const listed = branch.branches.reduce((sum, one) => sum + one.percents[0], 0);
        sentences.push(`Of it ${this.part(listed, own)} is listed below it.`);
      }
      if (branch.told) sentences.push(branch.told);
      const path = make("b", { class: "words" }, branch.path || GOES_ON);
      this.status.replaceChildren(path, ` ${each.join(", ")}. ${sentences.join(" ")}`);
      const texts = branch.texts.map((text) => make("li", { class: "words" }, text));
      this.told.replaceChildren(this.status, ...(texts.length ? [make("ul", {}, ...texts)] : []));
      this.told.hidden = false;
    }

    // A share of a share; both are rounded, so only whole percents of it can be said.
    part(percent, whole) {
      const share = (100 * percent) / whole;
      return share < 1 ? "under 1 %" : `${Math.min(100, Math.round(share))} %`;
    }
  }

  for (const place of document.querySelectorAll(".branching:not(.alive)")) {
    const others = document.querySelectorAll(".branching.alive").length;
    if (place.querySelector('script[type="application/json"]')) new Branching(place, others);
  }
})();
