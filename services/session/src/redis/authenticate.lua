-- Who is logged in. One string is cheaper to carry than a list of three; the user comes first because it may hold blanks.
return session[1] .. ' ' .. session[2] .. ' ' .. expires
