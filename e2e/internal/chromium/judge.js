// What is wrong with the page that is open, in words; nothing when all is well.
// axe-core has been loaded before.
const judge = {
  name(element) {
    const text = (element.getAttribute?.("aria-label") ?? element.textContent ?? "").trim().replace(/\s+/g, " ").slice(0, 40);
    return `<${element.localName}>${text ? ` "${text}"` : ""}`;
  },

  shown(element) {
    const box = element.getBoundingClientRect();
    return element.checkVisibility({visibilityProperty: true}) && box.width > 0 && box.height > 0;
  },

  // What axe cannot tell is a fault too: so far, it always was one.
  async axe() {
    const report = await axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      resultTypes: ["violations", "incomplete"],
    });
    const words = (verdict, rules) => rules.map(rule =>
      `${verdict} ${rule.id}: ${rule.help}: ${rule.nodes.map(node => node.target.join(" ")).slice(0, 3).join("; ")}`);
    return words("axe", report.violations).concat(words("axe cannot tell", report.incomplete));
  },

  // WCAG 2.2, 1.4.10: nobody has to scroll sideways.
  sideways() {
    const most = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= most) return [];
    const widest = [...document.body.querySelectorAll("*")].find(element => element.getBoundingClientRect().right > most + 0.5);
    return [`sideways: ${document.documentElement.scrollWidth} of ${most} pixels${widest ? `, because of ${this.name(widest)}` : ""}`];
  },

  // What moves though its reader asked for stillness.
  motion() {
    const long = style => style.split(",").some(time => parseFloat(time) > 0);
    const found = [];
    for (const element of document.querySelectorAll("*")) {
      for (const part of ["", "::before", "::after"]) {
        const style = getComputedStyle(element, part || null);
        if (long(style.transitionDuration) || (style.animationName !== "none" && long(style.animationDuration))) {
          found.push(`motion: ${this.name(element)}${part}`);
        }
      }
    }
    return found.slice(0, 3);
  },

  // What the page asked for beside itself, and what its policy kept from it.
  outside() {
    const loaded = performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:"));
    return loaded.map(name => `outside: ${name}`).concat((window.blocked ?? []).map(what => `blocked: ${what}`));
  },

  stops() {
    return [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
      .filter(element => !element.disabled && element.tabIndex >= 0 && element.type !== "hidden" && this.shown(element));
  },

  reached: new Set(),

  start() {
    this.reached.clear();
    return this.stops().length;
  },

  // Where the keyboard is, and whether one can see it (WCAG 2.2, 2.4.7 and 1.4.11).
  focus() {
    const element = document.activeElement;
    if (!element || element === document.body || this.reached.has(element)) return [];
    this.reached.add(element);
    const style = getComputedStyle(element);
    const found = [];
    if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) {
      found.push(`focus: nothing shows it at ${this.name(element)}`);
    } else {
      const ratio = contrast(style.outlineColor, behind(element.parentElement));
      if (ratio < 3) found.push(`focus: too faint at ${this.name(element)}: ${ratio.toFixed(2)} to 1`);
    }
    const box = element.getBoundingClientRect();
    if (box.bottom < 0 || box.top > innerHeight || box.right < 0 || box.left > innerWidth) {
      found.push(`focus: out of sight at ${this.name(element)}`);
    }
    return found;
  },

  missed() {
    return this.stops().filter(element => !this.reached.has(element)).map(element => `focus: the Tab key does not reach ${this.name(element)}`);
  },
};

function channels(color) {
  return color.match(/[\d.]+/g).map(Number);
}

// The color behind an element.
function behind(element) {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    const [, , , alpha = 1] = channels(color);
    if (alpha === 1) return color;
  }
  return "rgb(255, 255, 255)";
}

// WCAG 2.2, contrast ratio.
function contrast(one, two) {
  const [dark, light] = [one, two].map(color => {
    const [r, g, b] = channels(color).map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }).sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

window.judge = judge;
