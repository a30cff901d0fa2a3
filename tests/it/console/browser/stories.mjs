// The six questions of an operator, answered by clicks in a real browser. Prints one line of JSON: what was seen.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { AxeBuilder } from '@axe-core/playwright';
import { chromium } from 'playwright-core';

const { BASE, TOKEN, CHROMIUM, SHOTS } = process.env;
mkdirSync(SHOTS, { recursive: true });
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });

// By clicks alone, and without scripts.
const context = await browser.newContext({ viewport: { width: 1000, height: 700 }, javaScriptEnabled: false });
const page = await context.newPage();
const shown = async (selector) => (await page.locator(selector).first().innerText()).replace(/\s+/g, ' ').trim();
const go = (name) => page.click(`nav >> text=${name}`);

await page.goto(`${BASE}/console`);
assert.equal(new URL(page.url()).pathname, '/console/sign-in');
await page.fill('input[name=token]', `${TOKEN}x`);
await page.click('button.main');
assert.match(await shown('[role=alert]'), /not accepted/);
await page.fill('input[name=token]', TOKEN);
await page.click('button.main');
const [cookie] = await context.cookies();
assert.deepEqual([cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite], ['__Host-sts-console', true, true, 'Strict']);

// Which agents are there, and what can they do?
await page.click('th >> text=coordinator');
assert.match(await shown('main'), /May call/);

// Who may call whom?
await go('Graph');
assert.ok(await page.locator('svg title', { hasText: 'coordinator may call inventory' }).count());

// What happened in the last refusal, and why?
await go('Chains');
await page.locator('tr:has(.tag.bad) td a').first().click();
await page.click('text=Why?');
await page.click('button.main');
const why = await shown('.answer');
assert.match(why, /scope_beyond/);

// What waits?
await go('Approvals');
const asked = await shown('section.answer');
assert.match(asked, /coordinator asks to call inventory/);
await page.click('button:has-text("Grant")');
assert.match(await shown('section.answer'), /granted, by operator/);

// Stop the chain: the reach is counted first, and the name is typed.
await go('Chains');
await page.locator('td.name a[href^="/console/chains/"]').last().click();
const chain = new URL(page.url()).pathname;
await page.click('text=Stop this transaction');
const reach = await shown('.answer h2');
await page.fill('input[name=confirm]', 'another name');
await page.click('button.danger');
assert.match(await shown('main'), /Nothing was stopped/);
await page.goBack();
await page.fill('input[name=confirm]', await shown('.answer strong'));
await page.click('button.danger');
assert.equal(new URL(page.url()).pathname, '/console/stop');
const stopped = await shown('tbody tr');

// Every page: no violation that axe finds, nothing wider than the screen, the first Tab skips to the content.
const paths = ['/console', '/console/agents/coordinator', '/console/graph', '/console/why', '/console/chains', chain, '/console/approvals',
  '/console/stop?agent=coordinator', '/console/health', '/console/sign-in'];
const faults = [];
const storageState = await context.storageState();
for (const [colorScheme, width] of [['light', 1200], ['dark', 360]]) {
  const looked = await browser.newContext({ storageState, viewport: { width, height: 800 }, colorScheme });
  const tab = await looked.newPage();
  for (const path of paths) {
    const response = await tab.goto(BASE + path);
    const at = `${path} ${colorScheme}`;
    if (response.status() !== 200) faults.push(`${at}: ${response.status()}`);
    const name = path.startsWith('/console/chains/') ? 'chain' : path.replace(/\?.*/, '').slice(1).replaceAll('/', '-');
    await tab.screenshot({ path: `${SHOTS}/${name}-${colorScheme}.png`, fullPage: true });
    const wider = await tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wider > 0) faults.push(`${at}: ${wider} px wider than the screen`);
    for (const violation of (await new AxeBuilder({ page: tab }).analyze()).violations) {
      faults.push(`${at}: ${violation.id}: ${violation.nodes.map((node) => node.html.slice(0, 80)).join(' | ')}`);
    }
    if (path !== '/console/sign-in') {
      await tab.keyboard.press('Tab');
      const focused = await tab.evaluate(() => document.activeElement?.textContent);
      if (focused !== 'Skip to the content') faults.push(`${at}: the first Tab leads to ${focused}`);
    }
  }
  await looked.close();
}

await page.click('button:has-text("Sign out")');
assert.deepEqual(await context.cookies(), []);
await page.goto(`${BASE}/console/stop`);
assert.equal(new URL(page.url()).pathname, '/console/sign-in');
await browser.close();
console.log(JSON.stringify({ why, asked, reach, stopped, faults }));
