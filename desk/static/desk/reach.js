// Whoever uses the desk with the keyboard alone, or has it read out, reaches every control and hears its name.
//
// Unfold opens its menus with elements that only a mouse can reach, and some of its controls show an icon and no word.
(() => {
  const NAMES = {
    dock_to_right: "Show or hide the sidebar",
    computer: "Theme",
    dark_mode: "Theme",
    light_mode: "Theme",
    more_horiz: "More actions",
    more_vert: "More actions",
    conversion_path: "Home",
    filter_list: "Filters",
    search: "Search",
    close: "Close",
    visibility: "Show or hide the password",
    visibility_off: "Show or hide the password",
  };
  const NATIVE = "a[href], button, input, select, textarea, summary, label";
  const CONTROLS = `${NATIVE}, [role=button], [x-on\\:click]`;
  const ICON = ".material-symbols-outlined";

  const words = (element) => {
    const copy = element.cloneNode(true);
    copy.querySelectorAll(ICON).forEach((icon) => icon.remove());
    return element.matches(ICON) ? "" : copy.textContent.trim();
  };

  const name = (element) => {
    if (element.hasAttribute("aria-label") || element.hasAttribute("title") || words(element)) return;
    const icon = element.matches(ICON) ? element : element.querySelector(ICON);
    const known = NAMES[icon ? icon.textContent.trim() : ""];
    // The calendar and the clock beside a field for a date or a time.
    const beside = element.closest(".datetimeshortcuts") ? "Choose from a list" : "";
    if (known || beside) element.setAttribute("aria-label", known || beside);
  };

  const reach = (element) => {
    if (element.matches(NATIVE) || element.hasAttribute("tabindex") || element.querySelector(CONTROLS)) return;
    element.tabIndex = 0;
    if (!element.hasAttribute("role")) element.setAttribute("role", "button");
  };

  const label = (field) => {
    if (field.type === "hidden" || (field.labels && field.labels.length) || field.hasAttribute("aria-label")) return;
    const row = field.closest(".field-row, .form-row, fieldset, p");
    const heading = row && row.querySelector("label, legend");
    const text = field.getAttribute("placeholder") || (heading && words(heading));
    if (text) field.setAttribute("aria-label", text.replace(/\s*\*$/, ""));
  };

  const prepare = (root) => {
    const all = (selector) => [...(root.matches(selector) ? [root] : []), ...root.querySelectorAll(selector)];
    all("[x-on\\:click]").forEach(reach);
    all("a, button, [role=button]").forEach(name);
    all("input, select, textarea").forEach(label);
    all(".truncate").forEach((one) => one.title || (one.title = words(one)));
  };

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (key === "Escape") {
      // Every menu closes when something outside it is clicked.
      document.body.click();
    } else if ((key === "Enter" || key === " ") && target.getAttribute("role") === "button" && !target.matches(NATIVE)) {
      event.preventDefault();
      target.click();
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    const skip = document.createElement("a");
    skip.href = "#main";
    skip.className = "skip-to-content";
    skip.textContent = "Skip to the content";
    const main = document.getElementById("main");
    if (main) {
      main.tabIndex = -1;
      document.body.prepend(skip);
    }
    prepare(document.body);
    new MutationObserver((changes) => {
      changes.forEach((change) => change.addedNodes.forEach((node) => node.nodeType === Node.ELEMENT_NODE && prepare(node)));
    }).observe(document.body, { childList: true, subtree: true });
  });
})();
