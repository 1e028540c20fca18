// What the tests of the operator's page share.
import assert from 'node:assert/strict';
import { open } from './kit.js';

/** What the operator's token gets. */
export async function operator(tiergate, method, path, body) {
  const answer = await fetch(tiergate.adminUrl + path, {
    method,
    headers: { authorization: `Bearer ${tiergate.token}` },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const told = await answer.json();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${JSON.stringify(told)}`);
  return told;
}

/** The newest rows of the audit log: who, what, on what. */
export async function audited(tiergate, count = 1) {
  const { changes } = await operator(tiergate, 'GET', `/audit?limit=${count}`);
  return changes.map(row => [row.operator_unverified, row.action, row.subject]);
}

export async function logIn(page, { name = '', token }) {
  await page.fill('#token', token);
  await page.fill('#name', name);
  await page.keyboard.press('Enter');
}

/** The page, logged in, with everything shown. */
export async function opened(tiergate, options = {}) {
  const page = await open(`${tiergate.adminUrl}/`, options);
  await logIn(page, { token: tiergate.token, ...options });
  await shows(page);
  return page;
}

export const shows = page =>
  page.waitForFunction(() => document.querySelector('#s-live .ok') && document.querySelector('#t-acc .open') && document.querySelector('#db dl'));

/** Presses a button, and fills the dialog that asks first. */
export async function asks(page, button, { type, before: fill } = {}) {
  await page.click(button);
  await page.waitForSelector('#ask[open]');
  const focused = await page.evaluate(() => document.activeElement.id);
  assert.notEqual(focused, 'ask-yes', 'the focus is not at the dangerous button');
  if (type) await page.fill('#word', type);
  await fill?.();
  await page.click('#ask-yes');
}

/** Does what a button offers; `done` is what the page says then. */
export async function act(page, button, { done, ...options }) {
  await asks(page, button, options);
  await page.waitForSelector(`.toast >> text=${done}`);
  await page.waitForFunction(() => !document.querySelector('#ask').open);
}

export const faultless = page => assert.deepEqual(page.faults, []);
