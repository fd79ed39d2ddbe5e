// What every page of the desk must be, whoever looks at it: nothing off the screen, cut off or on top of another,
// every control with a name, one heading, text that can be read. Returns complaints in words.
() => {
  const complaints = [];
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  };
  const described = (element) => {
    const text = (element.innerText || element.value || element.name || "").trim().replace(/\s+/g, " ").slice(0, 40);
    const mark = element.id ? `#${element.id}` : element.name ? `[name=${element.name}]` : "";
    return `<${element.tagName.toLowerCase()}${mark}> ${JSON.stringify(text)}`;
  };
  // The names of icons are ligatures, not words.
  const words = (element) => {
    const copy = element.cloneNode(true);
    copy.querySelectorAll(".material-symbols-outlined, [aria-hidden=true]").forEach((icon) => icon.remove());
    return copy.textContent.trim();
  };
  const named = (element) =>
    element.getAttribute("aria-label") || element.getAttribute("title") || element.getAttribute("aria-labelledby");
  const scrolls = (element) => {
    for (let one = element; one && one !== document.body; one = one.parentElement) {
      if (/auto|scroll/.test(getComputedStyle(one).overflowX)) return true;
    }
    return false;
  };
  const floats = (element) => {
    for (let one = element; one && one !== document.body; one = one.parentElement) {
      if (/fixed|sticky|absolute/.test(getComputedStyle(one).position)) return true;
    }
    return false;
  };

  // --- the page as a whole
  const root = document.documentElement;
  if (root.scrollWidth > window.innerWidth) {
    complaints.push(`the page is ${root.scrollWidth} px wide, the window ${window.innerWidth} px`);
  }
  if (!document.title.trim()) complaints.push("the page has no title");
  if (!root.lang) complaints.push("the page does not say its language");
  const headings = [...document.querySelectorAll("h1")].filter(seen);
  if (headings.length !== 1) complaints.push(`the page has ${headings.length} visible h1`);
  const ids = new Map();
  document.querySelectorAll("[id]").forEach((one) => ids.set(one.id, (ids.get(one.id) || 0) + 1));
  ids.forEach((count, id) => count > 1 && complaints.push(`the id ${id} is given ${count} times`));

  // --- controls have names
  document.querySelectorAll("input:not([type=hidden]), select, textarea").forEach((field) => {
    if (!seen(field) || ["submit", "button", "reset"].includes(field.type)) return;
    if (!(field.labels && field.labels.length) && !named(field)) complaints.push(`no label: ${described(field)}`);
  });
  document.querySelectorAll("button, a[href], [role=button], summary, input[type=submit]").forEach((control) => {
    if (!seen(control)) return;
    const picture = control.querySelector("img[alt]:not([alt='']), svg[aria-label], svg title");
    if (!words(control) && !control.value && !named(control) && !picture) {
      complaints.push(`no name: ${described(control)} ${control.getAttribute("href") || ""}`);
    }
  });
  document.querySelectorAll("img:not([alt])").forEach((one) => complaints.push(`no alt: ${one.src}`));
  document.querySelectorAll("svg[role=img]").forEach((one) => {
    if (!named(one) && !one.querySelector("title")) complaints.push("a picture without a name");
  });
  document.querySelectorAll("[tabindex]").forEach((one) => {
    if (one.tabIndex > 0) complaints.push(`a tab order of its own: ${described(one)}`);
  });

  // --- text that is seen: where it is, and whether it can be read
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (color) => {
    if (!known.has(color)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      known.set(color, [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255));
    }
    return known.get(color);
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((part, i) => part * a + under[i] * (1 - a));
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (style.backgroundImage !== "none") return null;
      layers.push(rgba(style.backgroundColor));
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [1, 1, 1]);
  };
  const light = (color) => {
    const [r, g, b] = color.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const told = new Set();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const text = node.data.trim();
    if (!text || ["SCRIPT", "STYLE", "TEMPLATE", "OPTION", "NOSCRIPT"].includes(element.tagName) || !seen(element)) continue;
    const isIcon = element.classList.contains("material-symbols-outlined");
    const range = document.createRange();
    range.selectNodeContents(node);
    let cut = element;
    while (cut && cut !== document.body && !/hidden|clip/.test(getComputedStyle(cut).overflowX)) cut = cut.parentElement;
    const isClipped = cut && cut !== document.body;
    const isFree = !scrolls(element) && !floats(element) && !isClipped;
    for (const box of range.getClientRects()) {
      if (box.width < 2 || box.height < 2) continue;
      if (isFree && (box.right > window.innerWidth + 1 || box.left < -1)) {
        complaints.push(`off the screen: ${JSON.stringify(text.slice(0, 40))}`);
        break;
      }
      const cell = element.closest("td, th, li, dd");
      if (cell && !floats(element) && !scrolls(element)) {
        const room = cell.getBoundingClientRect();
        if (room.height > 0 && (box.top < room.top - 3 || box.bottom > room.bottom + 3)) {
          complaints.push(`out of its cell: ${JSON.stringify(text.slice(0, 40))}`);
          break;
        }
      }
      // Pictures draw their own text where they want it, except on top of other text.
      if (!isIcon && !floats(element)) boxes.push({ box, element, text });
    }
    const isCut = isClipped && cut.scrollWidth > cut.clientWidth + 2 && cut.clientWidth > 0;
    if (isCut && !told.has(cut) && !cut.closest("[title]") && !cut.querySelector("[title]")) {
      told.add(cut);
      complaints.push(`cut off: ${described(cut)}`);
    }
    const style = getComputedStyle(element);
    const under = ground(element);
    if (under && !isIcon && !element.closest("[disabled], [aria-disabled=true], svg")) {
      const colors = [over(rgba(style.color), under), under].map(light).sort((a, b) => b - a);
      const contrast = (colors[0] + 0.05) / (colors[1] + 0.05);
      if (contrast < 3) complaints.push(`hard to read (contrast ${contrast.toFixed(1)}): ${JSON.stringify(text.slice(0, 40))}`);
    }
  }
  boxes.sort((one, other) => one.box.top - other.box.top);
  for (let i = 0; i < boxes.length; i++) {
    for (let j = i + 1; j < boxes.length && boxes[j].box.top < boxes[i].box.bottom; j++) {
      const [one, other] = [boxes[i], boxes[j]];
      if (one.element.contains(other.element) || other.element.contains(one.element)) continue;
      const width = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const height = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      if (width > 3 && height > 5 && !scrolls(one.element) && !scrolls(other.element)) {
        complaints.push(`on top of each other: ${JSON.stringify(one.text.slice(0, 40))} and ${JSON.stringify(other.text.slice(0, 40))}`);
      }
    }
  }
  return [...new Set(complaints)];
}
