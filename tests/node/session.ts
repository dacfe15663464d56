// lib/session.ts of the app in docs/nextjs.md, whose users sign in by a word of the test.
let user: { id: string } | null = null;

export function signIn(id: string | null): void {
  user = id === null ? null : { id };
}

export async function currentUser(): Promise<{ id: string } | null> {
  return user;
}
